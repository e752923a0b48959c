"""What a seed decides before its run begins: the cluster, its limits, its network and its faults.

Each run has its own mix, so that between them they meet combinations nobody would think of. Most
are short and wild; some are long, as real operation is: hundreds of cuts of the log, and clients
that the cluster forgets because a clock jumped by hours.
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
    "kill of all",
    "power loss",
    "power loss of all",
    "crash at an operation",
    "crash in an install",
    "disk error",
    "failing sync",
    "full disk",
    "no room for writes",
    "slow disk",
    "pause",
    "clock jump",
    "partition",
    "one way",
    "isolated leader",
    "leader cut off with a follower",
    "clog",
    "slow links",
    "flapping",
    "broken connections",
    "overtaking connections",
    "users cut off",
    "add a member",
    "add a member unseeded",
    "remove a member",
    "replace a member",
    "two changes at once",
    "transfer",
)

OPERATION_BYTES = 180
"""What one operation of a transaction takes in the log beside its value, at most."""

_FAULTS_A_SECOND_MAX = 5.0
"""More would leave nothing whole that a fault could break."""
_OTHERS_A_SECOND_MAX = 1.5
"""Of the faults beside those that a run is made for."""


@dataclass(frozen=True)
class Options:
    """One seed's run."""

    seed: int
    nodes: int
    adversarial: bool
    rocksdb: bool
    """The state lies in the real store, not in dictionaries."""
    timing: Timing
    bounds: Bounds
    segment_bytes: int
    delay_s: tuple[float, float]
    sync_s: float
    """How long a disk takes for a sync."""
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
    """The longest that a fault of the network, a full disk or a pause lasts."""
    client_rate: float
    """Bursts of plain requests per virtual second."""
    burst: int
    payload_bytes: int
    read_share: float
    users: int
    """Users of the SDK."""
    user_rate: float
    """What a user does per virtual second, while it is not waiting."""
    transaction_operations_max: int


def draw(seed: int) -> Options:
    """The options of a seed; the same for the same seed, for ever."""
    random = Random(f"options {seed}")
    if random.random() < 0.3:
        return _long(random, seed)
    adversarial = random.random() < 0.75
    timing = random.choice((QUICK, QUICK, HASTY)) if adversarial or random.random() < 0.3 else CALM
    options = _short(random, seed, adversarial, timing)
    if not adversarial:
        return options
    return _wild(options, random) if random.random() < 0.7 else _cutting(options, random)


def _short(random: Random, seed: int, adversarial: bool, timing: Timing) -> Options:
    often = 1.0 if timing is CALM else random.choice((1.0, 3.0))
    payload_bytes = random.choice((12, 12, 60, 250, 2_000))
    operations_max = random.choice((1, 3))
    client_rate, burst = random.choice(((5.0, 1), (5.0, 4), (15.0, 1), (15.0, 4), (4.0, 20)))
    return Options(
        seed=seed,
        nodes=random.choice((1, 2, 3, 3, 3, 4, 5, 5, 5, 5)),
        adversarial=adversarial,
        rocksdb=random.random() < 0.12,
        timing=timing,
        bounds=_bounds(random, payload_bytes, operations_max),
        segment_bytes=random.choice((600, 3_000, 24_000)),
        delay_s=random.choice(((0.0005, 0.005), (0.001, 0.06), (0.005, 0.06))),
        sync_s=random.choice((0.0, 0.0005, 0.004)),
        window=random.choice((3, 30, 300)),
        lost=random.choice((0.01, 0.05, 0.15)),
        doubled=random.choice((0.02, 0.1, 0.4)),
        late=random.choice((0.02, 0.05, 0.15)),
        late_s=random.choice((0.5, 2.0, 8.0)),
        faulty_s=40.0 if timing is CALM else 20.0,
        rates=_rates(random, random.choice((0.1, 0.2, 0.35)), often),
        fault_s=random.choice((1.0, 4.0)),
        client_rate=client_rate,
        burst=burst,
        payload_bytes=payload_bytes,
        read_share=random.choice((0.1, 0.4)),
        users=random.choice((1, 2, 4)),
        user_rate=random.choice((1.0, 4.0)),
        transaction_operations_max=operations_max,
    )


def _rates(random: Random, share: float, often: float) -> dict[str, float]:
    rates = {
        fault: often * random.choice((0.05, 0.15, 0.5))
        for fault in FAULTS
        if random.random() < share
    }
    return _eased(rates, _FAULTS_A_SECOND_MAX)


def _eased(rates: dict[str, float], most: float) -> dict[str, float]:
    """The same mix, at most so many a second."""
    rate = sum(rates.values())
    return {fault: often * min(most / rate, 1.0) for fault, often in rates.items()}


def _long(random: Random, seed: int) -> Options:
    """Minutes of life as it should be, but for some faults: the product's own timing, on TCP."""
    options = _short(random, seed, False, CALM)
    client_rate, burst = random.choice(((2.0, 1), (4.0, 2), (1.0, 10)))
    return replace(
        options,
        nodes=random.choice((1, 3, 3, 3, 5, 5)),
        bounds=replace(
            options.bounds,
            journal_bytes_retained_max=random.choice((4_000, 20_000)),
            entries_in_flight_max=256,
            queue_commands_max=8192,
        ),
        delay_s=random.choice(((0.0005, 0.005), (0.001, 0.06))),
        window=300,
        faulty_s=random.choice((120.0, 180.0, 240.0)),
        rates={**_rates(random, random.choice((0.2, 0.35)), 0.2), "clock jump": 0.05},
        client_rate=client_rate,
        burst=burst,
        users=random.choice((2, 4)),
        user_rate=random.choice((0.5, 1.0)),
    )


def _cutting(options: Options, random: Random) -> Options:
    """Logs of a few entries: whoever falls behind needs a snapshot, and gets many offers."""
    bounds = replace(
        options.bounds,
        group_commands_max=1,
        entries_in_flight_max=256,
        journal_bytes_retained_max=3_000,
    )
    rates = {"partition": 0.5, "leader cut off with a follower": 1.0, "isolated leader": 0.5}
    return replace(
        options,
        nodes=random.choice((3, 5)),
        rocksdb=False,
        timing=HASTY,
        rates={**_eased(options.rates, _OTHERS_A_SECOND_MAX), **rates},
        bounds=bounds,
        segment_bytes=600,
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
        _bounds(random, 12, 1),
        group_commands_max=random.choice((1, 3)),
        entries_in_flight_max=256,
        queue_commands_max=8192,
    )
    return replace(
        options,
        nodes=nodes,
        timing=HASTY,
        rates={**_eased(options.rates, _OTHERS_A_SECOND_MAX), **rates},
        bounds=bounds,
        payload_bytes=12,
        transaction_operations_max=1,
        doubled=random.choice((0.1, 0.4)),
        late=0.15,
        late_s=random.choice((2.0, 6.0)),
        fault_s=1.5,
        client_rate=15.0,
        burst=random.choice((2, 8)),
        read_share=0.4,
        users=1,
    )


def _bounds(random: Random, payload_bytes: int, operations_max: int) -> Bounds:
    # The library's own pieces of one entry must never be needed, as in the product.
    transaction_bytes = (payload_bytes + OPERATION_BYTES) * operations_max
    return Bounds(
        group_commands_max=random.choice((1, 3, 64)),
        # A message holds at most a few entries, or many.
        group_bytes_max=transaction_bytes * random.choice((1, 1, 3, 20)),
        entries_in_flight_max=random.choice((2, 16, 256)),
        queue_commands_max=random.choice((8, 64, 8192)),
        apply_entries_max=random.choice((1, 3, 64)),
        journal_bytes_retained_max=random.choice((3_000, 12_000, 80_000, 800_000)),
    )
