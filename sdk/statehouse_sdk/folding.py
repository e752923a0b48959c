"""Owns the way from events to the state they leave, and the hash by which two states compare. Pure.

A replay that was folded, and the cluster's own snapshot at the same commit_ts, have one hash; that
is what `statehousectl replay --verify` compares.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from statehouse_sdk.models import Snapshot, StateResult

if TYPE_CHECKING:
    from collections.abc import Iterable

    from statehouse_sdk.models import ReplayEvent
    from statehouse_sdk.values import StateValue


def replay_state(events: Iterable[ReplayEvent]) -> Snapshot:
    """The state of an agent after its events, from its first one on, in commit order.

    A fork's events begin with its ancestors'. The snapshot speaks for the last event's commit_ts.
    """
    records: dict[str, StateResult] = {}
    namespace, agent_id, commit_ts = "", "", 0
    for event in events:
        namespace, agent_id, commit_ts = event.namespace, event.agent_id, event.commit_ts
        for operation in event.operations:
            if operation.mark is not None:
                continue
            if operation.deleted:
                records.pop(operation.key, None)
                continue
            records[operation.key] = StateResult(
                value=operation.value,
                version=operation.version,
                commit_ts=commit_ts,
                exists=True,
                key=operation.key,
                committed_at=event.committed_at,
                served_at=commit_ts,
            )
    return Snapshot(namespace, agent_id, commit_ts, dict(sorted(records.items())))


def state_hash(snapshot: Snapshot) -> bytes:
    """SHA-256 over all keys in order, each with its kind, its value and its version.

    Every part goes in with its length, so no two states share the bytes that are hashed. When a
    state was reached does not count.
    """
    digest = sha256()
    # Characters of UTF-8 are in the order of their bytes, as the keys of a cluster are.
    for key, record in sorted(snapshot.records.items()):
        kind, value = _stored(record.value)
        for part in (key.encode(), kind, value, str(record.version).encode()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.digest()


def _stored(value: StateValue) -> tuple[bytes, bytes]:
    """Kind and bytes; JSON in the form in which this client writes it."""
    if isinstance(value, bytes):
        return b"raw", value
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return b"json", text.encode("utf-8", "surrogatepass")
