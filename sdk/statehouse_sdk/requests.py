"""Owns the making of requests from what a user gives, checked before anything is sent; pure.

Both clients make theirs here, so that both refuse the same things with the same words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from statehouse_proto.v2 import state_pb2 as state

from statehouse_sdk import convert
from statehouse_sdk.errors import InvalidRequestError, TooLargeError
from statehouse_sdk.limits import GET_MANY_KEYS_MAX
from statehouse_sdk.models import Metadata

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from statehouse_sdk.models import At


_METADATA: Final = ("actor", "reason", "run_id", "tool_call_id", "caused_by", "extra")
_NO_METADATA: Final[tuple[Any, ...]] = ("", "", "", "", (), None)


def metadata(
    actor: str,
    reason: str,
    run_id: str,
    tool_call_id: str,
    caused_by: int | Sequence[int],
    extra: Mapping[str, str] | None,
) -> bytes | None:
    """What is kept with a transaction, serialized; one cause may stand alone. None: nothing."""
    if (actor, reason, run_id, tool_call_id, caused_by, extra) == _NO_METADATA:
        return None
    causes = (caused_by,) if isinstance(caused_by, int) else tuple(caused_by)
    told = Metadata(actor, reason, run_id, tool_call_id, causes, dict(extra or {}))
    return convert.metadata_message(told).SerializeToString()


def given_metadata(given: Mapping[str, Any]) -> bytes | None:
    """As `metadata`, from those of its arguments that were given; TypeError for any other."""
    return metadata(**(dict(zip(_METADATA, _NO_METADATA, strict=True)) | dict(given)))


def get(
    namespace: str, agent_id: str, key: str, at: At | None, version: int | None, stale: bool
) -> state.GetRequest | None:
    """One key; None for version 0, which never was."""
    if version is not None:
        if at is not None:
            raise InvalidRequestError("give at or version, not both")
        if convert.checked_number(version, "version") == 0:
            return None
    return state.GetRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        key=convert.checked_name(key, "key"),
        at=convert.point(at),
        version=version or 0,
        consistency=convert.consistency(stale),
    )


def get_many(
    namespace: str, agent_id: str, keys: Iterable[str], at: At | None, stale: bool
) -> state.GetManyRequest:
    """Several keys, each once, in the order asked; there may be none."""
    if isinstance(keys, str):
        raise InvalidRequestError(f"keys is the string {keys!r:.60}; give a list of keys")
    wanted = list(dict.fromkeys(convert.checked_name(key, "key") for key in keys))
    if len(wanted) > GET_MANY_KEYS_MAX:
        raise TooLargeError(
            f"{len(wanted)} keys asked for, and get_many_keys_max is {GET_MANY_KEYS_MAX}",
            "get_many_keys_max",
            GET_MANY_KEYS_MAX,
            len(wanted),
        )
    return state.GetManyRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        keys=wanted,
        at=convert.point(at),
        consistency=convert.consistency(stale),
    )


def list_keys(
    namespace: str, agent_id: str, prefix: str, at: At | None, stale: bool
) -> state.ListKeysRequest:
    """The keys of an agent that begin with a prefix, which may be empty."""
    return state.ListKeysRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        prefix=convert.checked_name(prefix, "prefix", empty=True),
        at=convert.point(at),
        consistency=convert.consistency(stale),
    )


def scan(
    namespace: str, agent_id: str, prefix: str, at: At | None, stale: bool
) -> state.ScanRequest:
    """As `list_keys`, for the records."""
    return state.ScanRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id"),
        prefix=convert.checked_name(prefix, "prefix", empty=True),
        at=convert.point(at),
        consistency=convert.consistency(stale),
    )


def list_agents(namespace: str, stale: bool) -> state.ListAgentsRequest:
    """The agents of a namespace."""
    return state.ListAgentsRequest(namespace=namespace, consistency=convert.consistency(stale))


def list_namespaces(stale: bool) -> state.ListNamespacesRequest:
    """All namespaces."""
    return state.ListNamespacesRequest(consistency=convert.consistency(stale))


def replay(
    namespace: str,
    agent_id: str,
    start_ts: At | None,
    end_ts: At | None,
    *,
    limit: int | None,
    last: int | None,
    follow: bool,
    stale: bool,
    prefix: str = "",
    run_id: str = "",
    caused_by: int | None = None,
    with_proof: bool = False,
) -> state.ReplayRequest:
    """A range of history, of an agent or (empty) of the namespace."""
    if follow and (end_ts is not None or limit):
        raise InvalidRequestError("follow has no end: leave out end_ts and limit")
    if limit and last:
        raise InvalidRequestError("limit and last exclude each other: leave out one")
    if run_id and caused_by:
        raise InvalidRequestError("run_id and caused_by exclude each other: leave out one")
    if follow and (run_id or caused_by):
        raise InvalidRequestError("follow tells all events in scope: leave out run_id, caused_by")
    return state.ReplayRequest(
        namespace=namespace,
        agent_id=convert.checked_name(agent_id, "agent_id", empty=True),
        start=convert.point(start_ts or None, "start_ts"),
        end=convert.point(end_ts, "end_ts"),
        limit=convert.checked_number(limit or 0, "limit"),
        last=convert.checked_number(last or 0, "last"),
        follow=follow,
        consistency=convert.consistency(stale),
        prefix=convert.checked_name(prefix, "prefix", empty=True),
        run_id=convert.checked_text(run_id, "run_id"),
        caused_by=convert.checked_number(caused_by or 0, "caused_by"),
        with_proof=with_proof,
    )


def watch(
    namespace: str, agent_id: str, prefix: str, after: int | None, *, stale: bool
) -> state.ReplayRequest:
    """What comes after a point; after None, the caller sets where it starts."""
    if after is not None and (not isinstance(after, int) or isinstance(after, bool)):
        raise InvalidRequestError(
            f"after is {after!r:.60}; give a commit_ts, or start at as_of(...).commit_ts"
        )
    start = None if after is None else convert.checked_number(after, "after") + 1
    return replay(
        namespace,
        agent_id,
        start,
        None,
        limit=None,
        last=None,
        follow=True,
        stale=stale,
        prefix=prefix,
    )
