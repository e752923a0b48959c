"""Owns the wires of a chaos run: one network namespace a node, a bridge between them, and cuts.

Node K is 10.77.0.K in a namespace of its own; clients and the harness are 10.77.0.254 at the
bridge. A cut, or a share of packets lost, is a packet filter where the packets arrive, so each
direction can be broken by itself. It knows nothing of processes.
"""

from __future__ import annotations

from tests.chaos.sandbox import command

CLIENTS = 254
"""The number that stands for the harness and every client in `cut` and `lose`."""

CLIENT_PORT = 50051
PEER_PORT = 51051
PREFIX = "10.77.0"

_BRIDGE = "br0"
_ALL_PACKETS = 100


class Network:
    """The wires between numbered nodes; only whoever made them may break them."""

    def __init__(self) -> None:
        self._nodes: set[int] = set()
        self._lost: dict[tuple[int, int], int] = {}
        command("ip", "link", "set", "lo", "up")
        command("ip", "link", "add", _BRIDGE, "type", "bridge")
        command("ip", "address", "add", f"{address(CLIENTS)}/24", "dev", _BRIDGE)
        command("ip", "link", "set", _BRIDGE, "up")

    def add(self, number: int) -> None:
        """Makes the namespace of a node and plugs it in; a second time does nothing."""
        if number in self._nodes:
            return
        name, plug = namespace(number), f"plug{number}"
        command("ip", "netns", "add", name)
        command("ip", "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", name)
        command("ip", "link", "set", plug, "master", _BRIDGE, "up")
        command("ip", "-n", name, "address", "add", f"{address(number)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            command("ip", "-n", name, "link", "set", device, "up")
        self._nodes.add(number)

    def cut(self, source: int, target: int, *, both: bool = True) -> None:
        """Packets from source to target vanish, and if `both` those back; sockets stay open."""
        self.lose(source, target, _ALL_PACKETS)
        if both:
            self.lose(target, source, _ALL_PACKETS)

    def lose(self, source: int, target: int, percent: int) -> None:
        """This share of the packets from source to target vanishes, drawn for each packet."""
        self._lost[source, target] = percent
        self._filter(target)

    def slow(self, number: int, rate: str) -> None:
        """What a node sends leaves at this rate (as tc says it), and queues for up to 400 ms."""
        shape = ("tbf", "rate", rate, "burst", "16kb", "latency", "400ms")
        command("tc", "-n", namespace(number), "qdisc", "replace", "dev", "eth0", "root", *shape)

    def heal(self) -> None:
        """All wires are whole and quick again."""
        targets = {target for _, target in self._lost}
        self._lost.clear()
        for target in targets:
            self._filter(target)
        for number in self._nodes:
            if "tbf" in command("tc", "-n", namespace(number), "qdisc", "show", "dev", "eth0"):
                command("tc", "-n", namespace(number), "qdisc", "del", "dev", "eth0", "root")

    def _filter(self, target: int) -> None:
        """Replaces, in one step, what the target does not receive."""
        rules = [
            f"ip saddr {address(source)} {_share(percent)} drop"
            for (source, arrives_at), percent in self._lost.items()
            if arrives_at == target
        ]
        table = [
            "table inet chaos {}",
            "delete table inet chaos",
            "table inet chaos {",
            "chain arriving {",
            "type filter hook input priority 0",
            *rules,
            "}",
            "}",
        ]
        command(*entering(target), "nft", "-f", "-", given="\n".join(table) + "\n")


def entering(number: int) -> tuple[str, ...]:
    """What starts a command inside the namespace of a node; the clients' is the box itself."""
    return () if number == CLIENTS else ("nsenter", f"--net=/run/netns/{namespace(number)}")


def namespace(number: int) -> str:
    """The name of a node's network namespace."""
    return f"n{number}"


def address(number: int) -> str:
    """The address of a node, or of the clients."""
    return f"{PREFIX}.{number}"


def _share(percent: int) -> str:
    return "" if percent >= _ALL_PACKETS else f"numgen random mod {_ALL_PACKETS} < {percent}"
