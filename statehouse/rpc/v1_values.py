"""Owns what a v1 value (google.protobuf.Struct) is in stored JSON, and back. Pure.

A Struct knows one kind of number, the double. A whole one below 2**53 is stored as an integer, so
new programs see the integer the old one meant; others are stored as floats. Backwards, only what a
Struct can hold exactly is told: an object at the top, numbers a double can hold, nesting that a
client can parse. Anything else is refused by name, never changed in silence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf import struct_pb2

from statehouse.core.errors import Failure, Reason
from statehouse.core.model import Kind

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Struct

_WHOLE_MAX = 2**53

NESTING_MAX = 28
"""Levels of objects and lists: protobuf parsers stop at 100 nested messages, an object costs three,
and the message around it some more."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def json_of(value: Struct) -> bytes:
    """The JSON text to store for a Struct; refuses NaN and infinities."""
    return _encode(_object(value, "value"))


def _object(struct: Struct, path: str) -> dict[str, object]:
    # A Struct keeps no order of its own: sorted, equal Structs become equal bytes.
    return {name: _plain(told, f"{path}.{name}") for name, told in sorted(struct.fields.items())}


def _plain(told: struct_pb2.Value, path: str) -> object:
    kind = told.WhichOneof("kind")
    if kind == "number_value":
        return _number(told.number_value, path)
    if kind == "struct_value":
        return _object(told.struct_value, path)
    if kind == "list_value":
        values = told.list_value.values
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(values)]
    if kind == "string_value":
        return told.string_value
    if kind == "bool_value":
        return told.bool_value
    return None


def _number(number: float, path: str) -> int | float:
    if not math.isfinite(number):
        raise Failure(
            Reason.INVALID_ARGUMENT,
            f"{path[:200]} is {number}; JSON has no such number: store a string or null",
        )
    whole = abs(number) < _WHOLE_MAX and number.is_integer()
    # Minus zero is whole, but an integer would lose its sign.
    if whole and not (number == 0 and math.copysign(1, number) < 0):
        return int(number)
    return number


def struct_of(kind: int, value: bytes, key: str) -> Struct:
    """The Struct for a stored value; refuses, naming `key`, what a Struct cannot hold exactly."""
    if kind != Kind.JSON:
        raise _not_carried(key, "raw bytes")
    plain = _decode(value)
    if not isinstance(plain, dict):
        raise _not_carried(key, "a value that is no JSON object")
    struct = struct_pb2.Struct()
    _fill_object(struct, plain, key, 1)
    return struct


def _fill_object(struct: Struct, plain: dict[str, Any], key: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise _not_carried(key, f"a value nested more than {NESTING_MAX} levels deep")
    for name, item in plain.items():
        _fill(struct.fields[name], item, key, depth)


def _fill(told: struct_pb2.Value, item: object, key: str, depth: int) -> None:
    if item is None:
        told.null_value = struct_pb2.NULL_VALUE
    elif isinstance(item, bool):
        told.bool_value = item
    elif isinstance(item, str):
        told.string_value = item
    elif isinstance(item, int | float):
        told.number_value = _double(item, key)
    elif isinstance(item, dict):
        told.struct_value.SetInParent()
        _fill_object(told.struct_value, item, key, depth + 1)
    elif isinstance(item, list):
        _fill_list(told.list_value, item, key, depth + 1)


def _fill_list(told: struct_pb2.ListValue, items: list[Any], key: str, depth: int) -> None:
    if depth > NESTING_MAX:
        raise _not_carried(key, f"a value nested more than {NESTING_MAX} levels deep")
    told.SetInParent()
    for item in items:
        _fill(told.values.add(), item, key, depth)


def _double(number: float, key: str) -> float:
    try:
        double = float(number)
    except OverflowError:
        raise _not_carried(key, "an integer no double can hold") from None
    if double != number:
        raise _not_carried(key, "an integer no double can hold")
    return double


def _not_carried(key: str, what: str) -> Failure:
    return Failure(
        Reason.INVALID_ARGUMENT,
        f'key "{key[:200]}" holds {what}, which the v1 protocol cannot carry; '
        "read it through statehouse.v2",
    )
