"""Owns the three-way merge: what each side changed since both were one, and what becomes of it.

Pure, key by key. A key that only the source changed is taken from it; one that only the target
changed, or both in the same way, stays; one that both changed differently is a conflict, for which
the user chooses by the prefix of the key, or by a function, or not at all.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from statehouse_sdk.absent import ABSENT
from statehouse_sdk.diffing import same
from statehouse_sdk.errors import InvalidRequestError, MergeConflict

if TYPE_CHECKING:
    from collections.abc import Iterable

Word = Literal["source", "target", "error", "union"]
WORDS: Final = ("source", "target", "error", "union")

Resolver = Callable[[str, Any, Any, Any], Any]
"""``resolve(key, base, ours, theirs)`` -> the value: ours is the target's, theirs the source's.

ABSENT stands for "does not exist", among the arguments and as a result.
"""

Choice = Word | Resolver
Choose = Choice | Mapping[str, Choice]
"""One choice for all conflicts, or one for each prefix of keys, of which the longest counts."""


@dataclass(frozen=True, slots=True)
class MergedKey:
    """A key that the merge writes, or (value ABSENT) deletes, and why.

    how: ``source`` (only the source changed it), or, for a conflict, what was chosen: ``chosen
    source``, ``union``, ``resolved``.
    """

    key: str
    value: Any
    how: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a merge comes to: what is to be written, and what nobody decided."""

    written: tuple[MergedKey, ...]
    conflicts: tuple[MergeConflict, ...]


class Choices:
    """What the user said about conflicts, checked."""

    def __init__(self, choose: Choose | None, resolve: Resolver | None) -> None:
        if choose is None:
            choose = {}
        self._by_prefix = dict(choose) if isinstance(choose, Mapping) else {"": choose}
        self._resolve = resolve
        for prefix, choice in self._by_prefix.items():
            if not isinstance(prefix, str):
                raise InvalidRequestError(
                    f"choose names the prefix {prefix!r:.60}; prefixes of keys are strings"
                )
            if not (callable(choice) or choice in WORDS):
                raise InvalidRequestError(
                    f"choose[{prefix!r}] is {choice!r:.60}; choose one of {', '.join(WORDS)}, or"
                    " give a function of key, base, ours, theirs"
                )
        if resolve is not None and not callable(resolve):
            raise InvalidRequestError(
                f"resolve is {resolve!r:.60}; give a function of key, base, ours, theirs"
            )

    def of(self, key: str) -> Choice:
        """The choice for a key."""
        prefixes = [prefix for prefix in self._by_prefix if key.startswith(prefix)]
        if prefixes:
            return self._by_prefix[max(prefixes, key=len)]
        return self._resolve or "error"


def merge(sides: Iterable[MergeConflict], choices: Choices) -> Outcome:
    """Decides each key; `sides` are its values in the base and on both sides, in any order."""
    written: list[MergedKey] = []
    conflicts: list[MergeConflict] = []
    for side in sides:
        if same(side.source, side.base) or same(side.source, side.target):
            continue
        if same(side.target, side.base):
            written.append(MergedKey(side.key, side.source, "source"))
            continue
        decided = _decide(side, choices.of(side.key))
        if decided is None:
            conflicts.append(side)
        elif not same(decided.value, side.target):
            written.append(decided)
    return Outcome(tuple(written), tuple(conflicts))


def union(base: list[Any], target: list[Any], source: list[Any]) -> list[Any]:
    """The base's items without what either side removed, then what the target and source added.

    What both added alike is added once; equal items are told apart by their number only.
    """
    in_base, in_target, in_source = (Counter(map(_text, side)) for side in (base, target, source))
    left = {
        text: _count(in_base[text], in_target[text], in_source[text])
        for text in in_base | in_target | in_source
    }
    kept: list[Any] = []

    def take(item: Any, text: str) -> None:
        if left[text] > 0:
            left[text] -= 1
            kept.append(item)

    for item in base:
        take(item, _text(item))
    for side in (target, source):
        seen: Counter[str] = Counter()
        for item in side:
            text = _text(item)
            seen[text] += 1
            if seen[text] > in_base[text]:
                take(item, text)
    return kept


def _count(base: int, target: int, source: int) -> int:
    if target >= base and source >= base:
        return max(target, source)
    if target <= base and source <= base:
        return min(target, source)
    return target + source - base


def _text(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def _decide(side: MergeConflict, choice: Choice) -> MergedKey | None:
    """What becomes of a conflict; None: nobody says."""
    if callable(choice):
        value = choice(side.key, side.base, side.target, side.source)
        return MergedKey(side.key, value, "resolved")
    if choice == "source":
        return MergedKey(side.key, side.source, "chosen source")
    if choice == "target":
        return MergedKey(side.key, side.target, "chosen target")
    if choice == "union":
        base = [] if side.base is ABSENT else side.base
        lists = (base, side.target, side.source)
        if all(isinstance(one, list) for one in lists):
            return MergedKey(side.key, union(*lists), "union")
    return None
