"""Every limit of the product, each with its unit; nothing else may invent one.

docs/limits.md is generated from this file. Exceeding a limit is a typed error which names it.
"""

from __future__ import annotations

from typing import Final

NAME_BYTES_MAX: Final = 1024
"""UTF-8 bytes of a namespace, an agent id or a key."""

VALUE_BYTES_MAX: Final = 1024 * 1024
"""Bytes of one value: JSON text or raw bytes."""

TRANSACTION_OPERATIONS_MAX: Final = 1024
"""Operations in one transaction."""

TRANSACTION_PRECONDITIONS_MAX: Final = 4096
"""Preconditions in one transaction, its read set included."""

TRANSACTION_BYTES_MAX: Final = 3 * 1024 * 1024
"""Bytes of one encoded transaction."""

METADATA_BYTES_MAX: Final = 16 * 1024
"""UTF-8 bytes of one transaction's metadata, names and values together."""

METADATA_CAUSES_MAX: Final = 64
"""Entries of one transaction's caused_by."""

JSON_DEPTH_MAX: Final = 512
"""Levels of nesting of a JSON value."""

FORK_DEPTH_MAX: Final = 64
"""Forks of forks between an agent and the first it comes from."""

GET_MANY_KEYS_MAX: Final = 1024
"""Keys of one multi-key read."""

EXPLAIN_COMMITS_MAX: Final = 10_000
"""Commits that one explanation of a value may tell of."""

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of one gRPC message, either way."""

CHUNK_BYTES_MAX: Final = 256 * 1024
"""Bytes after which a streamed answer starts its next message."""

CHUNK_ROWS_MAX: Final = 512
"""Rows after which a streamed answer starts its next message."""

READ_AHEAD_BYTES_MAX: Final = 2 * 1024 * 1024
"""Bytes of events and values that are read together, and at most six rows more of each."""

READ_AHEAD_EVENTS_MAX: Final = 8192
"""Events whose values are read together."""

QUEUE_TRANSACTIONS_MAX: Final = 8192
"""Transactions accepted by a leader and not yet answered."""

GROUP_TRANSACTIONS_MAX: Final = 1024
"""Transactions that share one log entry."""

GROUP_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of transactions after which a log entry takes no more."""

RECEIPT_WINDOW_US: Final = 60 * 60 * 1_000_000
"""Microseconds of committed_at for which a receipt is kept."""

OPEN_TRANSACTIONS_MAX: Final = 4096
"""Transactions of the v1 protocol staged on one node."""

STAGED_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of all transactions of the v1 protocol staged on one node."""

STAGED_TIME_MS_MAX: Final = 24 * 60 * 60 * 1000
"""Milliseconds a transaction of the v1 protocol may stay open."""

CALL_TIME_MS_MAX: Final = 60 * 1000
"""Milliseconds a call may take, whatever its deadline; exchanges, replays and changes of members
may last."""

CALLS_MAX: Final = 16384
"""Calls under way on one node."""

CONNECTION_STREAMS_MAX: Final = 4096
"""Calls under way on one client connection; further ones wait at the client."""

EXCHANGE_CALLS_MAX: Final = 1024
"""Calls under way in one exchange, and calls in one message of it; further ones are not read."""

CALL_METADATA_BYTES_MAX: Final = 16 * 1024
"""Bytes of one call's gRPC metadata."""

DISK_RESERVE_BYTES: Final = 64 * 1024 * 1024
"""Free bytes on the data disk below which a node refuses writes."""

RECEIPT_GROUPS_EXPIRED_MAX: Final = 4
"""Groups of receipts that may be dropped for their age while one group is applied."""
