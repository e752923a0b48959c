"""Owns the order in which a node's files are opened and closed.

The lock first, then who the node is, then its state: a second process on the same directory, or a
directory of another node, is refused before anything in it is read. A node that keeps nothing has
the same files in a directory that ends with the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_cluster.identity import DataDirectory

from statehouse.storage.state_store import StateStore
from statehouse.storage.temporary import TemporaryDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class NodeFiles:
    """The open files of one node: its directory, locked, and its state store.

    directory: where; None: in a directory of this process, removed at the end.
    now_us: UTC microseconds, for the commits that this node leads.
    Raises IdentityRefused, StoreRefused or OSError, each in words.
    """

    def __init__(self, directory: Path | None, name: str, *, now_us: Callable[[], int]) -> None:
        self._home: TemporaryDirectory | None = None
        if directory is None:
            self._home = TemporaryDirectory()
            directory = self._home.path / "node"
        self.directory = DataDirectory.open(directory)
        try:
            self.directory.identify(name)
            self.store = StateStore(self.directory.state, now_us=now_us)
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Syncs and closes everything; nobody reads any more."""
        self.store.close()
        self._let_go()

    def _let_go(self) -> None:
        self.directory.close()
        if self._home is not None:
            self._home.remove()
