"""Owns the objects by which pysyncobj knows the nodes: one for each name, told apart by identity.

The library's own compare their ids in Python, and it keeps them in dictionaries and sets that it
asks dozens of times a round.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from pysyncobj.node import Node


class NamedNode(Node):  # type: ignore[misc]  # pysyncobj has no types
    """A node of the library's; only `Nodes` makes one, so equal names are the same object."""

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__


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
