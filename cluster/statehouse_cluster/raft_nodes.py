"""Owns the objects by which pysyncobj knows the nodes: one for each name, told apart by identity.

The library's own compare and hash their ids anew each time, in dictionaries and sets that it asks
dozens of times a round. The hash is still the name's, not the object's: in which order a set is
walked must not depend on where its members lie in memory, or no run could be repeated.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from pysyncobj.node import Node


class NamedNode(Node):  # type: ignore[misc]  # pysyncobj has no types
    """A node of the library's; only `Nodes` makes one, so equal names are the same object."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hash = hash(name)

    __eq__ = object.__eq__
    __ne__ = object.__ne__

    def __hash__(self) -> int:
        return self._hash


class Nodes:
    """All nodes that one Raft speaks of; on the raft thread."""

    def __init__(self) -> None:
        # Weak: names come from outside, too.
        self._nodes: WeakValueDictionary[str, NamedNode] = WeakValueDictionary()

    def named(self, name: str) -> NamedNode:
        """The node of this name."""
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = NamedNode(name)
        return node
