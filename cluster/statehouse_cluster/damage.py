"""Owns how the journal refuses: damage found on the disk, and a journal that failed in use.

It must not know formats or files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class JournalDamaged(Exception):
    """What the disk holds is not what was written to it; `offset` is in bytes, `what` in words."""

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(
            f"the journal is damaged: {path}, byte {offset}: {what}. Nothing was repaired, for "
            "votes and acknowledgements may rest on what is lost. Replace this member: remove it "
            "from the cluster and add a new one, under a new name, with an empty disk."
        )
        self.path = path
        self.offset = offset
        self.what = what


class JournalFailed(Exception):
    """The journal met an error before, or was closed, and takes no more calls."""

    def __init__(self, directory: Path, cause: BaseException | None) -> None:
        why = (
            "it was closed"
            if cause is None
            else f"of an earlier error, {cause!r}: nobody can say what of the last write is on the "
            "disk. Stop this process; the next start reads what is there"
        )
        super().__init__(f"the journal in {directory} cannot be used, because {why}")
