"""Owns how the bench uses PostgreSQL: psycopg 3 and a pool, as users keep agent state in tables.

A commit is a transaction of two statements: the event is inserted, the row of the key's state is
written or replaced. Two indexes of the events serve the reads of the past. Everything else is
as the server comes.
"""

from __future__ import annotations

from typing import ClassVar, Self

from psycopg_pool import AsyncConnectionPool, ConnectionPool

from tests.bench.clients.interface import AGENT, CONNECTIONS_MAX, HISTORY_AGENT, history_key
from tests.bench.work import KINDS, THREADS

TABLES = """
create table if not exists events (
    commit_ts bigserial primary key,
    committed_at timestamptz not null default now(),
    agent_id text not null,
    key text not null,
    value bytea not null
);
create index if not exists events_of_agents on events (agent_id, commit_ts);
create index if not exists events_of_keys on events (agent_id, key, commit_ts);
create table if not exists state (
    agent_id text,
    key text,
    version bigint not null,
    value bytea not null,
    primary key (agent_id, key)
);
"""
INSERT = "insert into events (agent_id, key, value) values (%s, %s, %b)"
UPSERT = """
insert into state (agent_id, key, version, value) values (%s, %s, 1, %b)
on conflict (agent_id, key) do update set version = state.version + 1, value = excluded.value
"""
GET = "select value from state where agent_id = %s and key = %s"
GET_AT = """
select value from events where agent_id = %s and key = %s and commit_ts <= %s
order by commit_ts desc limit 1
"""
REPLAY = """
select commit_ts, committed_at, key, value from events where agent_id = %s order by commit_ts
"""
ROWS_AT_A_TIME = 1000


class Client:
    """See interface.Client. The address is a connection string."""

    kinds: ClassVar[frozenset[str]] = frozenset(KINDS)

    def __init__(self, address: str) -> None:
        self._pool = AsyncConnectionPool(
            address,
            min_size=CONNECTIONS_MAX,
            max_size=CONNECTIONS_MAX,
            # A read by itself needs no BEGIN and COMMIT around it.
            kwargs={"autocommit": True},
            open=False,
        )

    async def __aenter__(self) -> Self:
        await self._pool.open(wait=True)
        async with self._pool.connection() as connection:
            await connection.execute(TABLES)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pool.close()

    async def commit(self, key: str, value: bytes) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(INSERT, (AGENT, key, value))
            await connection.execute(UPSERT, (AGENT, key, value))

    async def get(self, key: str) -> bytes:
        return await self._value(GET, AGENT, key)

    async def now(self) -> int:
        async with self._pool.connection() as connection:
            cursor = await connection.execute("select max(commit_ts) from events")
            return (await cursor.fetchone())[0]

    async def get_at(self, key: str, point: int) -> bytes:
        return await self._value(GET_AT, AGENT, key, point)

    async def add_history(self, numbers: range, value: bytes) -> None:
        rows = [(HISTORY_AGENT, history_key(number), value) for number in numbers]
        async with self._pool.connection() as connection, connection.transaction():
            await connection.cursor().executemany(INSERT, rows)

    async def replay(self, events: int) -> int:
        read_bytes = 0
        async with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor(name="replay", binary=True) as cursor,
        ):
            cursor.itersize = ROWS_AT_A_TIME
            await cursor.execute(REPLAY, (HISTORY_AGENT,))
            async for _, _, _, value in cursor:
                read_bytes += len(value)
        return read_bytes

    async def _value(self, query: str, *arguments: object) -> bytes:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, arguments, binary=True)
            return (await cursor.fetchone())[0]


class BlockingClient:
    """See interface.BlockingClient."""

    def __init__(self, address: str) -> None:
        self._pool = ConnectionPool(address, min_size=THREADS, max_size=THREADS, open=False)

    def __enter__(self) -> Self:
        self._pool.open(wait=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()

    def commit(self, key: str, value: bytes) -> None:
        with self._pool.connection() as connection:
            connection.execute(INSERT, (AGENT, key, value))
            connection.execute(UPSERT, (AGENT, key, value))
