"""Owns the one way to say that the store contradicts itself: stop, for nothing can be trusted."""

from __future__ import annotations


class InvariantViolation(Exception):
    """Something that cannot be happened; the node must stop before it answers anything."""


def invariant(holds: bool, what: str) -> None:
    """Raises InvariantViolation unless `holds`; unlike an assert it stays in optimized runs."""
    if not holds:
        raise InvariantViolation(what)
