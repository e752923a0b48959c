"""Scripts for guards that chance takes long to miss: each needs one particular order of things.

A script plays on a stage where every delivery is its own choice. It is lawful, and harms nothing
while the guard is there; without it something is lost, read too late or decided twice, which the
script returns in words. Random runs meet these orders, too, but one in hundreds or thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from statehouse_cluster.raft_log import SafetyViolation

from tests.simulation.checker import Violation
from tests.simulation.stage import EngineStage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulation.stage import Stage


def wrote(stage: Stage, name: str, values: Iterable[str]) -> None:
    """The node is asked for these writes."""
    for value in values:
        stage.write(name, value)


def a_slow_acknowledgement(stage: Stage) -> list[str]:
    """An acknowledgement of an earlier leadership arrives in a later one of the same node."""
    stage.campaign("A")
    stage.settle("ABCDE")
    wrote(stage, "A", [f"old{number}" for number in range(8)])
    stage.beat("A")
    stage.beat("A")
    for name in "CDE":
        stage.forget("A", name)
    stage.deliver("A", "B")
    stage.campaign("C")
    for name in "DE":
        stage.deliver("C", name)
        stage.deliver(name, "C")
    assert stage.leads("C")
    for name in "ABDE":
        stage.deliver("C", name)
    stage.campaign("A")
    for name in "DE":
        stage.deliver("A", name)
        stage.deliver(name, "A")
    assert stage.leads("A")
    wrote(stage, "A", [f"new{number}" for number in range(6)])
    stage.beat("A")
    stage.beat("A")
    stage.deliver("A", "D")
    stage.deliver("D", "A")
    stage.tick("A")
    assert not stage.acked
    stage.deliver("B", "A")
    stage.tick("A")
    stage.isolate("A")
    stage.isolate("D")
    stage.campaign("E")
    stage.settle("BCE")
    assert stage.leads("E")
    return stage.lost("E")


def a_vote_that_came_twice(stage: EngineStage) -> list[str]:
    """Of five, one votes for A and its vote is doubled on the way; two others vote for C."""
    stage.campaign("A")
    stage.forget("A", "C")
    stage.forget("A", "D")
    stage.forget("A", "E")
    stage.deliver("A", "B")
    stage.double("B", "A")
    stage.deliver("B", "A")
    stage.campaign("C")
    for name in "DE":
        stage.deliver("C", name)
        stage.deliver(name, "C")
    assert stage.leads("C")
    one_term = stage.nodes["A"].term() == stage.nodes["C"].term()
    return ["A and C lead in one term"] if stage.leads("A") and one_term else []


def a_read_at_a_deposed_leader(stage: EngineStage) -> list[str]:
    """B was elected and has acknowledged a write, and A has heard nothing of it."""
    _depose_in_silence(stage)
    stage.read("A", "a read")
    stage.tick("A")
    return _too_early(stage)


def a_late_answer_to_a_read(stage: EngineStage) -> list[str]:
    """As before; and what arrives at A is an answer that C gave long before the read was asked."""
    stage.campaign("A")
    stage.settle("ABC")
    stage.beat("A")
    stage.deliver("A", "C")
    _depose_in_silence(stage, begun=True)
    stage.read("A", "a read")
    stage.tick("A")
    stage.deliver("C", "A", 1)
    stage.tick("A")
    return _too_early(stage)


def _depose_in_silence(stage: EngineStage, *, begun: bool = False) -> None:
    """No link breaks; what A sends does not arrive from now on, nor does what is sent to it."""
    if not begun:
        stage.campaign("A")
        stage.settle("ABC")
    stage.forget("A", "B")
    stage.campaign("B")
    stage.deliver("B", "C")
    stage.deliver("C", "B")
    assert stage.leads("B")
    stage.write("B", "later")
    for _ in range(3):
        stage.beat("B")
        stage.deliver("B", "C")
        stage.deliver("C", "B")
    stage.tick("B")
    assert "later" in stage.acked
    assert stage.leads("A")


def _too_early(stage: EngineStage) -> list[str]:
    stale = "a read" in stage.acked and "later" not in stage.data("A")
    return ["a read was served without what was acknowledged before it"] if stale else []


def two_members_at_once(stage: EngineStage) -> list[str]:
    """A adds D and E while nothing of it reaches B and C, which are three with it, or two of five.

    The links look whole, so nothing else is in the way of the second change.
    """
    stage.campaign("A")
    stage.settle("ABC")
    for name in "DE":
        stage.join(name, "", "A")
        stage.connect("A", name)
    stage.connect("D", "E")
    for name in "DE":
        stage.nodes["A"].greet(name, f"{name}:1")
    stage.write("A", "left")
    for _ in range(8):
        stage.beat("A")
        for name in "BC":
            stage.forget("A", name)
        for name in "DE":
            stage.deliver("A", name)
            stage.tick(name)
            stage.deliver(name, "A")
    stage.tick("A")
    stage.campaign("B")
    stage.deliver("B", "C")
    stage.deliver("C", "B")
    assert stage.leads("B")
    stage.write("B", "right")
    for _ in range(3):
        stage.beat("B")
        stage.deliver("B", "C")
        stage.deliver("C", "B")
    stage.tick("B")
    assert "right" in stage.acked
    return stage.lost("B")


def _diverge(stage: EngineStage) -> None:
    """B led in the first term and fell silent: C holds w0 and w1 of it, B alone has a tail.

    Nobody knows more to be committed than what came before w0. Then C leads, and has a tail, too.
    """
    stage.campaign("B")
    stage.settle("ABC")
    wrote(stage, "B", ["w0", "w1"])
    stage.beat("B")
    stage.deliver("B", "C")
    stage.forget("C", "B")
    stage.isolate("B")
    wrote(stage, "B", [f"tail{number}" for number in range(4)])
    stage.tick("B")
    stage.campaign("C")
    stage.deliver("C", "A")
    stage.deliver("A", "C")
    assert stage.leads("C")


def _meet(stage: EngineStage) -> None:
    """C finds out where B's log agrees with its own, and sends what comes first behind that."""
    stage.connect("B", "C")
    stage.beat("C")
    stage.forget("C", "B")
    for _ in range(2):
        stage.beat("C")
        stage.deliver("C", "B")
        stage.deliver("B", "C")
    stage.beat("C")
    stage.deliver("C", "B", 1)


def a_tail_that_was_not_looked_at(stage: EngineStage) -> list[str]:
    """B agrees to what the first message holds; it must not vouch for what lies behind that."""
    _diverge(stage)
    stage.isolate("A")
    wrote(stage, "C", [f"new{number}" for number in range(6)])
    _meet(stage)
    stage.deliver("B", "C")
    stage.tick("C")
    stage.tick("C")
    stage.isolate("C")
    stage.connect("A", "B")
    stage.campaign("B")
    stage.settle("AB")
    assert stage.leads("B")
    return stage.lost("B")


def a_commit_index_beyond_the_message(stage: EngineStage) -> list[str]:
    """C has committed its tail with A; B's tail is as long, and another one."""
    _diverge(stage)
    wrote(stage, "C", [f"new{number}" for number in range(6)])
    for _ in range(3):
        stage.beat("C")
        stage.deliver("C", "A")
        stage.deliver("A", "C")
    stage.tick("C")
    assert "new5" in stage.acked
    _meet(stage)
    stage.tick("B")
    return [value for value in stage.data("B") if value.startswith("tail")]


def an_offer_that_came_twice(stage: EngineStage) -> list[str]:
    """B takes a snapshot that ends within its log, and is offered it once more.

    Its log goes on with a tail that nobody else has; the second answer must not vouch for it.
    """
    stage.campaign("B")
    stage.settle("ABC")
    stage.write("B", "w0")
    stage.settle("ABC")
    stage.write("B", "w1")
    stage.beat("B")
    for name in "AC":
        stage.deliver("B", name)
        stage.forget(name, "B")
    stage.isolate("B")
    wrote(stage, "B", [f"tail{number}" for number in range(6)])
    stage.tick("B")
    stage.campaign("A")
    for _ in range(2):
        stage.deliver("A", "C")
        stage.deliver("C", "A")
    stage.tick("A")
    assert "w1" in stage.data("A")
    stage.checkpoint("A")
    stage.tick("A")
    stage.compact("A")
    stage.cut("A", "C")
    wrote(stage, "A", [f"new{number}" for number in range(8)])
    stage.connect("A", "B")
    stage.beat("A")
    stage.forget("A", "B")
    for _ in range(2):
        stage.beat("A")
        stage.deliver("A", "B")
        stage.deliver("B", "A")
    stage.beat("A")
    stage.beat("A")
    stage.deliver("A", "B", 1)
    stage.tick("B")
    stage.deliver("A", "B", 1)
    stage.deliver("B", "A")
    stage.tick("A")
    stage.tick("A")
    stage.isolate("A")
    stage.connect("B", "C")
    stage.campaign("C")
    stage.settle("BC")
    assert stage.leads("C")
    return stage.lost("C")


SCRIPTS: dict[str, tuple[Callable[[EngineStage], list[str]], str, dict[str, int]]] = {
    "stale acknowledgements count": (a_slow_acknowledgement, "ABCDE", {}),
    "votes counted twice": (a_vote_that_came_twice, "ABCDE", {}),
    "reads without a round": (a_read_at_a_deposed_leader, "ABC", {}),
    "reads without an echo": (a_late_answer_to_a_read, "ABC", {}),
    "membership guard off": (two_members_at_once, "ABC", {}),
    "acknowledge the own log end": (a_tail_that_was_not_looked_at, "ABC", {"batch_bytes": 10}),
    "commit not capped": (a_commit_index_beyond_the_message, "ABC", {"batch_bytes": 10}),
    "a snapshot acknowledges the own log end": (
        an_offer_that_came_twice,
        "ABC",
        {"apply_entries_max": 1, "segment_bytes": 1},
    ),
}
"""Of each mutant that has one: the script, who plays, and on what a stage."""


def played(mutant: str) -> str:
    """What went wrong in the script of this mutant, or nothing."""
    script, names, sizes = SCRIPTS[mutant]
    stage = EngineStage(names, **sizes)
    try:
        told = script(stage)
    except (Violation, SafetyViolation) as violation:
        return f"{type(violation).__name__}: {violation}"
    finally:
        stage.close()
    return f"{script.__name__}: {', '.join(told)}" if told else ""
