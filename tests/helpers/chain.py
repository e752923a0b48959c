"""Checks, on the disk of a node that does not run, every event and value against its hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse.storage.state_store import StateStore

if TYPE_CHECKING:
    from pathlib import Path


def verify_chain(data: Path) -> int:
    """The commit_ts up to which the chain of a stopped node holds; StoreFailed where it breaks."""
    store = StateStore(data / "state", now_us=lambda: 0)
    try:
        with store.view() as view:
            view.check_chain()
            return view.commit_ts
    finally:
        store.close()
