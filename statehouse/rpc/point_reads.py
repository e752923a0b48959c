"""Owns the reads of given keys: what may be asked, and the answer from one view. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_proto.v2 import common_pb2, state_pb2

from statehouse.core import limits, validation
from statehouse.core.errors import Failure, LimitExceeded, Reason
from statehouse.rpc import convert, points

if TYPE_CHECKING:
    from statehouse.core.model import Record
    from statehouse.rpc.backend import View

_MESSAGE_OVERHEAD_BYTES = 64 * 1024
_STALE = common_pb2.CONSISTENCY_STALE
_CONSISTENCIES = (common_pb2.CONSISTENCY_LINEARIZABLE, _STALE)


def is_stale(consistency: int) -> bool:
    """Whether this node's own state will do; refuses what is no consistency."""
    if consistency not in _CONSISTENCIES:
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"consistency {consistency} is none this node knows; use linearizable or stale",
        )
    return consistency == _STALE


def check_get(request: state_pb2.GetRequest) -> None:
    """Refuses names that are none, and a version together with a point."""
    validation.check_names(request.namespace, request.agent_id, request.key)
    if request.version and request.HasField("at"):
        raise Failure(Reason.INVALID_ARGUMENT, "version and at exclude each other")


def get(view: View, request: state_pb2.GetRequest, now_us: points.NowUs) -> state_pb2.GetResponse:
    """The answer to a request that was checked."""
    response = state_pb2.GetResponse()
    fill_get(response, view, request, now_us)
    return response


def fill_get(
    response: state_pb2.GetResponse,
    view: View,
    request: state_pb2.GetRequest,
    now_us: points.NowUs,
) -> None:
    """As `get`, in an empty message that lies in its place already."""
    namespace, agent_id, key = request.namespace, request.agent_id, request.key
    if request.version:
        record: Record | None = view.get_version(namespace, agent_id, key, request.version)
        served_at = view.commit_ts
    elif request.HasField("at"):
        served_at = _at(view, request, now_us)
        record = view.get(namespace, agent_id, key, served_at)
    else:
        record, served_at = view.get(namespace, agent_id, key), view.commit_ts
    convert.fill_record(response.record, key, record)
    response.served_at = served_at


def _at(
    view: View, request: state_pb2.GetRequest | state_pb2.GetManyRequest, now_us: points.NowUs
) -> int:
    asked = points.Asked(request.namespace, request.agent_id)
    return points.state_at(request.at, view, now_us, asked)


def check_get_many(request: state_pb2.GetManyRequest) -> None:
    """Refuses too many keys, and names that are none."""
    count = len(request.keys)
    if count > limits.GET_MANY_KEYS_MAX:
        raise Failure(
            Reason.TOO_LARGE,
            f"{count} keys in one read; at most {limits.GET_MANY_KEYS_MAX}: split it",
            limit=LimitExceeded("get_many_keys_max", limits.GET_MANY_KEYS_MAX, count),
        )
    for key in request.keys:
        validation.check_names(request.namespace, request.agent_id, key)


def get_many(
    view: View, request: state_pb2.GetManyRequest, now_us: points.NowUs
) -> state_pb2.GetManyResponse:
    """The answer to a request that was checked; refuses when it would exceed one message."""
    response = state_pb2.GetManyResponse()
    fill_get_many(response, view, request, now_us)
    return response


def fill_get_many(
    response: state_pb2.GetManyResponse,
    view: View,
    request: state_pb2.GetManyRequest,
    now_us: points.NowUs,
) -> None:
    """As `get_many`, in an empty message that lies in its place already."""
    at = _at(view, request, now_us) if request.HasField("at") else None
    response.served_at = view.commit_ts if at is None else at
    size_bytes = 0
    for key in request.keys:
        record = view.get(request.namespace, request.agent_id, key, at)
        size_bytes += len(key) * 4 + (0 if record is None else len(record.value))
        _check_bytes(size_bytes)
        convert.fill_record(response.records.add(), key, record)


def _check_bytes(size_bytes: int) -> None:
    most = limits.MESSAGE_BYTES_MAX - _MESSAGE_OVERHEAD_BYTES
    if size_bytes > most:
        raise Failure(
            Reason.TOO_LARGE,
            f"the records asked for exceed {most} bytes together; ask for fewer keys at once",
            limit=LimitExceeded("message_bytes_max", limits.MESSAGE_BYTES_MAX, size_bytes),
        )
