"""What a checker found: which rule is broken, and by what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One broken promise; `told` names the operations or events that show it."""

    rule: str
    told: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.told}"
