"""What tests of agents do all the time: write a key, delete one, look at all that is held."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statehouse import Statehouse


def put(client: Statehouse, agent_id: str, key: str, value: object, **metadata: object) -> int:
    with client.begin_transaction(**metadata) as tx:
        tx.write(agent_id, key, value)
    assert tx.commit_ts is not None
    return tx.commit_ts


def remove(client: Statehouse, agent_id: str, key: str) -> int:
    with client.begin_transaction() as tx:
        tx.delete(agent_id, key)
    assert tx.commit_ts is not None
    return tx.commit_ts


def held(client: Statehouse, agent_id: str, **options: object) -> dict[str, object]:
    snapshot = client.snapshot(agent_id, **options)
    return {key: record.value for key, record in snapshot.records.items()}
