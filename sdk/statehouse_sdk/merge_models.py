"""Owns the shape in which the client tells what a merge did, or would do. Plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from statehouse_sdk.absent import ABSENT
from statehouse_sdk.models import value_to_dict

if TYPE_CHECKING:
    from statehouse_sdk.errors import MergeConflict
    from statehouse_sdk.merging import MergedKey


@dataclass(frozen=True, slots=True)
class Merge:
    """What a merge of source into target wrote, or would write.

    base_agent_id at base_ts is the last state that both had in common; source_ts and target_ts are
    the points that were merged. commit_ts None: nothing was committed, for a dry run, or because
    there was nothing to bring over. conflicts is empty but in a dry run.
    """

    source: str
    target: str
    base_agent_id: str
    base_ts: int
    source_ts: int
    target_ts: int
    written: tuple[MergedKey, ...]
    conflicts: tuple[MergeConflict, ...]
    commit_ts: int | None

    def to_dict(self) -> dict[str, Any]:
        """All fields by name; a value that is not there is left out."""
        return {
            "source": self.source,
            "target": self.target,
            "base_agent_id": self.base_agent_id,
            "base_ts": self.base_ts,
            "source_ts": self.source_ts,
            "target_ts": self.target_ts,
            "commit_ts": self.commit_ts,
            "written": [
                {"key": key.key, "how": key.how, "deleted": key.value is ABSENT}
                | ({} if key.value is ABSENT else value_to_dict(key.value))
                for key in self.written
            ],
            "conflicts": [conflict_to_dict(conflict) for conflict in self.conflicts],
        }


def conflict_to_dict(conflict: MergeConflict) -> dict[str, Any]:
    """key, and base, source and target where the key exists."""
    sides = {"base": conflict.base, "source": conflict.source, "target": conflict.target}
    told = {name: value_to_dict(value) for name, value in sides.items() if value is not ABSENT}
    return {"key": conflict.key} | told
