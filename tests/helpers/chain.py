"""Checks, on the disk of a node that does not run, every event and value against its hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.storage.faults import StoreFailed
from statehouse.storage.state_store import StateStore

if TYPE_CHECKING:
    from pathlib import Path

    from statehouse.storage.views import StateView


def check_chain(view: StateView) -> None:
    """Raises StoreFailed with the first thing that does not agree."""
    last = [row for row in view.verify() if row is not None][-1]
    assert last.finished
    if last.fault:
        raise StoreFailed(f"commit_ts {last.bad_commit_ts}: {last.fault}")
    assert last.through == view.commit_ts


def verify_chain(data: Path) -> int:
    """The commit_ts up to which the chain of a stopped node holds; StoreFailed where it breaks."""
    store = StateStore(data / "state", now_us=lambda: 0)
    try:
        with store.view() as view:
            check_chain(view)
            return view.commit_ts
    finally:
        store.close()
