"""Owns ABSENT, what stands for a value where a key or a field does not exist.

None would not do: it is a value that can be stored.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Absent(Enum):
    """The type of ABSENT."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False


ABSENT: Final = Absent.ABSENT
"""There is no such key, or no such field; not None, which is a value."""
