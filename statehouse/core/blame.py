"""Owns which version of a JSON object gave each of its top-level fields the value it has. Pure.

The versions are shown from the newest back. A field was set by the oldest version of the unbroken
row of versions, up to the newest, in which it has the same value. Values are compared as what JSON
says, exactly: white space and the order of fields count for nothing, but 1, 1.0 and true differ.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from statehouse.core.model import Kind

Version = TypeVar("Version")

_JSON = Kind.JSON.value
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode = msgspec.json.Decoder().decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def fields_of(kind: int, value: bytes) -> dict[str, bytes] | None:
    """The top-level fields with their JSON texts, in order; None: it is no JSON object."""
    if kind != _JSON:
        return None
    try:
        return {name: bytes(text) for name, text in _decode_fields(value).items()}
    except _UNREADABLE:
        return None


def same(one: bytes, other: bytes) -> bool:
    """Whether two JSON texts say the same."""
    if one == other:
        return True
    try:
        return _encode_sorted(_decode(one)) == _encode_sorted(_decode(other))
    except _UNREADABLE:
        return False


class Settling(Generic[Version]):
    """The fields of one value, while it is being found out which version set each."""

    def __init__(self, kind: int, value: bytes, version: Version) -> None:
        self._value = value
        self._fields = fields_of(kind, value) or {}
        self._open = dict(self._fields)
        self._oldest = version
        self._set_by: dict[str, Version] = {}

    @property
    def settled(self) -> bool:
        """Whether no older version can add anything."""
        return not self._open

    def look(self, kind: int, value: bytes, version: Version) -> None:
        """Shows the version before the one shown last."""
        if kind != _JSON or value != self._value:
            older = fields_of(kind, value) or {}
            for name, text in list(self._open.items()):
                if name not in older or not same(text, older[name]):
                    self._set_by[name] = self._oldest
                    del self._open[name]
        self._oldest = version

    def result(self) -> list[tuple[str, Version]]:
        """Each field, in order, with its version; what is open was there from the oldest shown."""
        return [(name, self._set_by.get(name, self._oldest)) for name in self._fields]
