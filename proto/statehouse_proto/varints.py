"""Owns how a number is written on the wire, for what is written there without message objects.

Seven bits a byte, the lowest first, the highest bit of each byte saying that more follow.
"""

from __future__ import annotations

from functools import lru_cache


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# Lengths and versions are mostly small, and most of a moment is the same for minutes.
_SMALL = tuple([_varint(number) for number in range(2048)])
_of_high_bits = lru_cache(maxsize=64)(_varint)


def varint(number: int) -> bytes:
    """A number from 0 to 2**64 - 1."""
    if number < 2048:
        return _SMALL[number]
    if number < 1 << 14:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 1 << 21:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    if number < 1 << 28:
        return _varint(number)
    low = (
        number & 0x7F | 0x80,
        number >> 7 & 0x7F | 0x80,
        number >> 14 & 0x7F | 0x80,
        number >> 21 & 0x7F | 0x80,
    )
    return bytes(low) + _of_high_bits(number >> 28)
