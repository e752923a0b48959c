"""Owns the limits the SDK checks before it sends; each equals the server's limit of that name.

The SDK never imports the server, so the numbers stand here again and a test compares them.
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

JSON_DEPTH_MAX: Final = 512
"""Levels of nesting of a JSON value."""

GET_MANY_KEYS_MAX: Final = 1024
"""Keys of one multi-key read."""

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes of one gRPC message, either way."""

EXCHANGE_CALLS_MAX: Final = 1024
"""Calls in one message of an exchange."""

INTEGER_DIGITS_MAX: Final = 4300
"""Decimal digits of an integer inside a value; only the SDK checks it, JSON itself has no limit."""
