"""Owns the few lines a person sees when a node starts by hand. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from statehouse.config import NodeConfig

_WIDTH = 62


def banner(config: NodeConfig, listens: str, version: str, git_sha: str) -> str:
    """A box with the node's name and place; ends with a newline."""
    kept = "in memory, until the process ends" if config.use_memory else str(config.data_dir)
    lines = [
        f"Statehouse {version} ({git_sha[:12]})",
        "What your agents knew, when they knew it, and why.",
        "",
        f"node     {config.name}, {_place(config)}",
        f"clients  {listens}",
        f"peers    {config.peer_address or 'none'}",
        f"data     {kept}",
    ]
    rule = "+" + "-" * _WIDTH + "+"
    return "\n".join([rule, *(_boxed(line) for line in lines), rule]) + "\n"


def _place(config: NodeConfig) -> str:
    if config.join:
        return "waits to be added to a cluster"
    if len(config.peers) > 1:
        return f"one of {len(config.peers)} founding members"
    return "a cluster of one"


def _boxed(line: str) -> str:
    room = _WIDTH - 2
    shown = line if len(line) <= room else line[: room - 3] + "..."
    return f"| {shown:<{room}} |"
