"""What a seed decides before its run begins: the cluster, its limits, its network and its faults.

Each run has its own mix, so that between them they meet combinations nobody would think of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from statehouse_cluster.settings import Bounds
from statehouse_cluster.timing import Timing

CALM = Timing()
QUICK = Timing(
    heartbeat_s=0.05,
    election_min_s=0.25,
    election_max_s=0.5,
    hasten_max_s=0.1,
    prevote_retry_s=0.03,
    leader_fallback_s=0.6,
    transfer_s=0.4,
)

HASTY = replace(QUICK, heartbeat_s=0.03, election_min_s=0.15, election_max_s=0.2)

FAULTS = (
    "kill",
    "power loss",
    "power loss of all",
    "crash at an operation",
    "disk error",
    "pause",
    "partition",
    "isolated leader",
    "leader cut off with a follower",
    "clog",
    "broken connections",
    "add a member",
    "add a member unseeded",
    "remove a member",
    "replace a member",
    "two changes at once",
    "transfer",
)


@dataclass(frozen=True)
class Options:
    """One seed's run."""

    seed: int
    nodes: int
    adversarial: bool
    timing: Timing
    bounds: Bounds
    segment_bytes: int
    delay_s: tuple[float, float]
    window: int
    """Messages a connection takes before it is full."""
    lost: float
    doubled: float
    late: float
    """Shares of the messages in the adversarial mood; a late one comes after `late_s` at most."""
    late_s: float
    faulty_s: float
    """Virtual seconds with faults, before the cluster is healed."""
    rates: dict[str, float]
    """How often each kind of fault comes, per virtual second."""
    fault_s: float
    """The longest that a fault of the network or a pause lasts."""
    client_rate: float
    """Client requests per virtual second."""
    burst: int
    payload_bytes: int
    read_share: float
    idle_s: tuple[float, float]
    """How long a node sleeps when nothing happens."""


def draw(seed: int) -> Options:
    """The options of a seed; the same for the same seed, for ever."""
    random = Random(f"options {seed}")
    adversarial = random.random() < 0.6
    timing = random.choice((QUICK, QUICK, HASTY)) if adversarial or random.random() < 0.3 else CALM
    often = 1.0 if timing is CALM else random.choice((1.0, 3.0))
    rates = {
        fault: often * random.choice((0.05, 0.15, 0.5)) for fault in FAULTS if random.random() < 0.4
    }
    payload_bytes = random.choice((12, 12, 60, 250))
    options = Options(
        seed=seed,
        nodes=random.choice((1, 2, 3, 3, 3, 4, 5, 5, 5, 5)),
        adversarial=adversarial,
        timing=timing,
        bounds=_bounds(random, payload_bytes),
        segment_bytes=random.choice((200, 1_000, 8_000)),
        delay_s=random.choice(((0.0005, 0.005), (0.001, 0.06), (0.005, 0.06))),
        window=random.choice((3, 30, 300)),
        lost=random.choice((0.01, 0.05, 0.15)),
        doubled=random.choice((0.02, 0.1, 0.4)),
        late=random.choice((0.02, 0.05, 0.15)),
        late_s=random.choice((0.5, 2.0, 8.0)),
        faulty_s=40.0 if timing is CALM else 20.0,
        rates=rates,
        fault_s=random.choice((1.0, 4.0)),
        client_rate=random.choice((5.0, 15.0, 40.0)),
        burst=random.choice((1, 1, 4, 20)),
        payload_bytes=payload_bytes,
        read_share=random.choice((0.1, 0.4)),
        idle_s=random.choice(((0.01, 0.03), (0.02, 0.06))),
    )
    if not adversarial:
        return options
    return _wild(options, random) if random.random() < 0.7 else _cutting(options, random)


def _cutting(options: Options, random: Random) -> Options:
    """Logs of a few entries: whoever falls behind needs a snapshot, and gets many offers."""
    bounds = replace(
        options.bounds,
        group_commands_max=1,
        entries_in_flight_max=256,
        journal_bytes_retained_max=800,
    )
    rates = {"partition": 0.5, "leader cut off with a follower": 1.0, "isolated leader": 0.5}
    return replace(
        options,
        nodes=random.choice((3, 5)),
        timing=HASTY,
        rates={**options.rates, **rates},
        bounds=bounds,
        segment_bytes=200,
        payload_bytes=12,
        fault_s=1.5,
        client_rate=15.0,
        burst=random.choice((4, 12)),
        read_share=0.2,
    )


def _wild(options: Options, random: Random) -> Options:
    """What the rarest interleavings need all at once.

    Leaders that come, go and come back within the life of a message, tails that nobody else has,
    and messages of a few entries; with three nodes, processes that end and start all the time.
    """
    nodes = random.choice((3, 5, 5))
    rates = {
        "partition": 0.3,
        "leader cut off with a follower": 1.0,
        "transfer": 1.0,
        "pause": 0.2,
        **({"kill": 1.0, "power loss": 1.0} if nodes == 3 else {}),
    }
    bounds = replace(
        options.bounds,
        group_commands_max=random.choice((1, 3)),
        group_bytes_max=options.payload_bytes * random.choice((2, 4)),
        entries_in_flight_max=256,
        queue_commands_max=8192,
    )
    return replace(
        options,
        nodes=nodes,
        timing=HASTY,
        rates={**options.rates, **rates},
        bounds=bounds,
        doubled=random.choice((0.1, 0.4)),
        late=0.15,
        late_s=random.choice((2.0, 6.0)),
        fault_s=1.5,
        client_rate=15.0,
        burst=random.choice((2, 8)),
        read_share=0.4,
    )


def _bounds(random: Random, payload_bytes: int) -> Bounds:
    return Bounds(
        group_commands_max=random.choice((1, 3, 64)),
        # A message holds at most a few entries, or many.
        group_bytes_max=payload_bytes * random.choice((2, 2, 5, 100)),
        entries_in_flight_max=random.choice((2, 16, 256)),
        queue_commands_max=random.choice((8, 64, 8192)),
        apply_entries_max=random.choice((1, 3, 64)),
        journal_bytes_retained_max=random.choice((800, 3_000, 20_000, 200_000)),
    )
