"""Owns what a value is: plain Python in, the stored bytes out, and back, exactly or not at all.

JSON values are None, bool, int, float, str, list and dict with str keys, nested up to
JSON_DEPTH_MAX levels; subclasses of these (an OrderedDict, a StrEnum) and tuples are stored, and
read back, as the plain type they stand for. Integers are exact up to INTEGER_DIGITS_MAX digits,
floats round trip. Raw values are bytes, bytearray or memoryview, at the top only. All else is
refused with the path of the offender: nothing is rounded, renamed or dropped.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from statehouse_sdk.errors import InvalidValueError, ProtocolError, TooLargeError
from statehouse_sdk.limits import INTEGER_DIGITS_MAX, JSON_DEPTH_MAX, VALUE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
"""What a JSON value looks like when it is read."""

StateValue = JsonValue | bytes
"""What any value looks like when it is read."""


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_RAW: Final = (bytes, bytearray, memoryview)

# Made once: to make one takes longer than to read a short value.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# Below this magnitude an integer is surely short enough: no need to write it down to count.
_SURELY_SHORT_BITS = 14_000


class Encoded(NamedTuple):
    """A value as it is stored: the bytes, and whether they are JSON text."""

    data: bytes
    is_json: bool


def encode(value: Any) -> Encoded:
    """The stored form of a value.

    Raises InvalidValueError with the offender's path, TooLargeError beyond VALUE_BYTES_MAX.
    """
    if isinstance(value, _RAW):
        return _bounded(Encoded(bytes(value), False))
    if not _is_plain(value, _PLAIN_LEVELS):
        _check(value)
    try:
        text = _ENCODER.encode(value)
    except RecursionError:
        raise InvalidValueError(
            "$: cannot be encoded this deep in the program's own calls; store it from a shallower"
            " place, or nest it less"
        ) from None
    except ValueError as error:
        # This interpreter was told to write fewer digits than INTEGER_DIGITS_MAX.
        raise InvalidValueError(f"$: cannot be written as JSON: {error}") from None
    try:
        data = text.encode()
    except UnicodeEncodeError:
        path = _path_of_surrogate(value)
        raise InvalidValueError(
            f"{path}: holds half of a surrogate pair, which is not text; repair the string or"
            " store bytes",
            path,
        ) from None
    return _bounded(Encoded(data, True))


def decode(data: bytes, is_json: bool) -> StateValue:
    """Plain Python at every depth; ProtocolError if stored JSON text cannot be read."""
    if not is_json:
        return data
    try:
        text = data.decode()
        decoded: JsonValue
        try:
            decoded, end = _DECODER.raw_decode(text)
        except ValueError:
            end = -1
        if end != len(text):
            # Blanks around the value; or no JSON, and then this says why.
            decoded = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a stored value is not JSON this client can read: {error}") from None
    return decoded


def _bounded(encoded: Encoded) -> Encoded:
    size = len(encoded.data)
    if size > VALUE_BYTES_MAX:
        raise TooLargeError(
            f"the value takes {size} bytes, and value_bytes_max is {VALUE_BYTES_MAX}; split it, or"
            " store a reference",
            "value_bytes_max",
            VALUE_BYTES_MAX,
            size,
        )
    return encoded


_TEXT_AND_TRUTH: Final = frozenset((str, bool, type(None)))
_PLAIN_LEVELS: Final = 16
_PLAIN_INTEGER_MAX: Final = 2**64


def _is_plain(value: Any, levels: int) -> bool:
    """Whether it is surely as JSON has it; if not, `_check` takes its time to say what it is."""
    kind = type(value)
    if kind in _TEXT_AND_TRUTH:
        return True
    if kind is int:
        return bool(-_PLAIN_INTEGER_MAX <= value <= _PLAIN_INTEGER_MAX)
    if kind is float:
        return math.isfinite(value)
    if levels == 0:
        return False
    if kind is dict:
        for key, child in value.items():
            if type(key) is not str:
                return False
            if type(child) not in _TEXT_AND_TRUTH and not _is_plain(child, levels - 1):
                return False
        return True
    if kind is list:
        for child in value:
            if type(child) not in _TEXT_AND_TRUTH and not _is_plain(child, levels - 1):
                return False
        return True
    return False


class _Level(NamedTuple):
    """One open container on the way down: its remaining children, and how to name them."""

    children: Iterator[tuple[object, Any]]
    container: Any


def _check(value: Any) -> None:
    """Walks without recursion, so that the depth allowed does not depend on the caller's stack."""
    open_levels: list[_Level] = []
    open_ids: set[int] = set()
    names: list[object] = []
    _visit(value, open_levels, open_ids, names)
    while open_levels:
        name, child = next(open_levels[-1].children, (None, _DONE))
        if child is _DONE:
            open_ids.discard(id(open_levels.pop().container))
            if names:
                names.pop()
            continue
        names.append(name)
        if not _visit(child, open_levels, open_ids, names):
            names.pop()


_DONE = object()


def _visit(value: Any, levels: list[_Level], ids: set[int], names: list[object]) -> bool:
    """Checks one value; True when it is a container, which then is the last open level."""
    if value is None or isinstance(value, bool | str):
        return False
    if isinstance(value, int):
        _check_integer(value, names)
        return False
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _offence(names, f"{value!r} is not JSON; store None or a string instead")
        return False
    if isinstance(value, dict):
        children: Iterator[tuple[object, Any]] = _members(value, names)
    elif isinstance(value, list | tuple):
        children = iter(enumerate(value))
    else:
        raise _offence(names, _unknown_type(value))
    if id(value) in ids:
        raise _offence(names, "contains itself")
    if len(levels) >= JSON_DEPTH_MAX:
        raise _offence(names, f"is nested deeper than json_depth_max = {JSON_DEPTH_MAX} levels")
    ids.add(id(value))
    levels.append(_Level(children, value))
    return True


def _members(value: dict[Any, Any], names: list[object]) -> Iterator[tuple[object, Any]]:
    for key, child in value.items():
        if not isinstance(key, str):
            raise _offence(names, f"has the key {key!r:.60}; keys of an object are strings")
        yield key, child


def _check_integer(value: int, names: list[object]) -> None:
    if value.bit_length() <= _SURELY_SHORT_BITS:
        return
    if abs(value) >= 10**INTEGER_DIGITS_MAX:
        raise _offence(names, f"has more than {INTEGER_DIGITS_MAX} digits; store it as a string")


def _unknown_type(value: object) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes can be a whole value, not a part of JSON; encode them as text (base64)"
    kind = type(value)
    return (
        f"{kind.__module__}.{kind.__qualname__} is not a JSON type; turn it into dict, list, str,"
        " int, float, bool or None"
    )


def _offence(names: list[object], what: str) -> InvalidValueError:
    path = _path(names)
    return InvalidValueError(f"{path}: {what}", path)


def _path(names: list[object]) -> str:
    """As in JSONPath: ``$.plan.steps[3]``, ``$["odd name"]``; a very long one keeps both ends."""
    parts = [step_text(name) for name in names]
    if len(parts) > 16:
        parts = [*parts[:8], "...", *parts[-7:]]
    return "$" + "".join(parts)


def step_text(name: object) -> str:
    """One step into a value, as paths write it: ``.name``, ``[3]``, ``["odd name"]``."""
    if isinstance(name, int):
        return f"[{name}]"
    text = str(name)
    return f".{text}" if text.isidentifier() else f"[{json.dumps(text)}]"


def _path_of_surrogate(value: Any) -> str:
    """The way to the first string, or key, that UTF-8 cannot hold; `value` has passed `_check`."""
    pending: list[tuple[Any, list[object]]] = [(value, [])]
    while pending:
        item, names = pending.pop()
        if isinstance(item, str) and not _is_text(item):
            return _path(names)
        if isinstance(item, dict):
            if any(not _is_text(key) for key in item):
                return _path(names)
            pending.extend((child, [*names, key]) for key, child in item.items())
        elif isinstance(item, list | tuple):
            pending.extend((child, [*names, place]) for place, child in enumerate(item))
    return "$"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
