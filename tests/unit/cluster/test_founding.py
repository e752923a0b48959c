import itertools
from random import Random

import pytest
from statehouse_cluster.founding import (
    Bind,
    FormationRefused,
    Found,
    Wait,
    cluster_id_of,
    decide,
)
from statehouse_cluster.hello import HelloReply
from statehouse_cluster.interfaces import Member

NAMES = ("a", "b", "c")


def member(name, disk=1):
    return Member(name, f"{name}{disk}", f"{name}:1", f"{name}:2")


def members(*others):
    replaced = {one.name: one for one in others}
    return tuple(replaced.get(name, member(name)) for name in NAMES)


def reply(who, *, bound=(), state="forming", listed=NAMES, ok=True, **changes):
    fields = {
        "ok": ok,
        "code": "" if ok else "wrong-name",
        "text": "" if ok else "this is somebody else",
        "name": who.name,
        "uuid": who.uuid,
        "cluster_id": cluster_id_of(bound),
        "peer_address": who.peer_address,
        "client_address": who.client_address,
        "state": state,
        "members": bound or tuple(Member(name, "", "", "") for name in listed),
    }
    return HelloReply(**(fields | changes))


def others(**replies):
    return {"b": reply(member("b")), "c": reply(member("c"))} | replies


A = member("a")


def test_one_alone_binds_and_founds_at_once():
    assert decide(A, (), ["a"], {}) == Bind((A,))
    assert decide(A, (A,), ["a"], {}) == Found(cluster_id_of([A]))


def test_a_node_waits_for_all_then_binds_then_waits_for_all_then_founds():
    assert decide(A, (), NAMES, {}) == Wait("b, c did not answer yet")
    assert decide(A, (), NAMES, {"b": reply(member("b"))}) == Wait("c did not answer yet")
    assert decide(A, (), NAMES, others()) == Bind(members())
    b_bound = reply(member("b"), bound=members())
    assert decide(A, members(), NAMES, others(b=b_bound)) == Wait("c did not agree yet")
    c_bound = reply(member("c"), bound=members())
    assert decide(A, members(), NAMES, {"b": b_bound, "c": c_bound}) == Found(
        cluster_id_of(members())
    )


def test_the_cluster_id_is_of_names_disks_and_addresses_in_no_order():
    ids = {cluster_id_of(order) for order in itertools.permutations(members())}
    assert len(ids) == 1
    for changed in (member("a", 2), Member("a", "a1", "a:9", "a:2")):
        ids.add(cluster_id_of(members(changed)))
    assert len(ids) == 3
    assert all(len(one) == 32 for one in ids)
    assert cluster_id_of(()) == ""


def test_who_crashed_between_binding_and_founding_is_taken_in_by_any_member():
    joined = (*members(), member("d"))
    told = reply(member("b"), state="member", bound=members(), members=joined)
    assert decide(A, members(), NAMES, {"b": told}) == Found(cluster_id_of(members()))


def test_a_disk_that_is_not_the_one_the_cluster_knows_is_refused():
    told = reply(member("b"), state="member", bound=members())
    for me, bound in ((member("a", 2), ()), (member("a", 2), members(member("a", 2)))):
        with pytest.raises(FormationRefused, match="this disk is not the one it knows; remove it"):
            decide(me, bound, NAMES, {"b": told})


def test_a_cluster_that_does_not_know_the_node_is_refused():
    told = reply(member("b"), state="member", bound=(member("b"), member("c")))
    with pytest.raises(FormationRefused, match="does not know a; start this node with --join"):
        decide(A, (), NAMES, {"b": told})


@pytest.mark.parametrize(
    ("bound", "heard", "what"),
    [
        ((), {"b": reply(member("c"))}, "the node at the address of b is c; correct the list"),
        ((), {"b": reply(member("b"), ok=False)}, "address of b refused: this is somebody else"),
        ((), {"b": reply(member("b"), listed="ab")}, "a cluster of a, b, c, b one of a, b;"),
        ((), {"b": reply(member("b"), listed="abcd")}, "b one of a, b, c, d; start all"),
        ((), {"b": reply(member("b"), state="joining")}, "b is joining, it does not form"),
        ((), {"b": reply(member("b"), state="removed")}, "b is removed, it does not form"),
        ((), others(b=reply(Member("b", "c1", "", ""))), "the same uuid"),
        ((), others(b=reply(member("b"), bound=members(member("c", 2)))), "stop all listed nodes"),
        (members(member("b", 2)), {"b": reply(member("b"))}, "another disk of b; no cluster has"),
        (
            members(),
            {"b": reply(member("b"), bound=members(member("c", 2)))},
            "b has agreed to another first configuration than a",
        ),
        ((), {"b": reply(member("b"), bound=members(member("a", 2)))}, "with another disk of a"),
        ((A, member("b")), {}, "already agreed to form a cluster of a, b, but was now started"),
    ],
)
def test_what_cannot_end_well_is_refused_in_words(bound, heard, what):
    with pytest.raises(FormationRefused, match=what):
        decide(A, bound, NAMES, heard)


class Node:
    """What a node has on its disk, what it tells, and what it heard since it started."""

    def __init__(self, name):
        self.name = name
        self.disk = 0
        self.wipe()

    def wipe(self):
        self.disk += 1
        self.me, self.bound, self.cluster_id = member(self.name, self.disk), (), ""
        self.restart()

    def restart(self):
        self.heard = {}
        self.refused = False

    def tell(self):
        state = "member" if self.cluster_id else "forming"
        return reply(self.me, bound=self.bound, state=state)

    def step(self):
        """Decides once and stores it. A crash is a step that is not made."""
        if self.cluster_id:
            return
        try:
            decision = decide(self.me, self.bound, NAMES, self.heard)
        except FormationRefused:
            self.refused = True
            return
        match decision:
            case Bind(bound):
                assert not self.bound, "a disk binds once"
                self.bound = bound
            case Found(cluster_id):
                assert cluster_id == cluster_id_of(self.bound)
                self.cluster_id = cluster_id


def act(random, nodes, in_flight, faults):
    node, other = random.sample(nodes, 2)
    match random.choices(("ask", "hear", "step", "restart", "wipe"), (6, 6, 6, *faults))[0]:
        case "ask":
            in_flight.append((node, other.name, other.tell()))
        case "hear" if in_flight:
            asker, name, told = in_flight.pop(random.randrange(len(in_flight)))
            asker.heard[name] = told
        case "step":
            node.step()
        case "restart":
            node.restart()
        case "wipe":
            node.wipe()


@pytest.mark.parametrize("seed", range(300))
def test_restarts_and_old_answers_in_any_order_make_one_cluster(seed):
    random = Random(seed)
    nodes, in_flight = [Node(name) for name in NAMES], []
    for _ in range(60):
        act(random, nodes, in_flight, (1, 0))
    for _ in range(5):
        for node, other in itertools.permutations(nodes, 2):
            node.heard[other.name] = other.tell()
        for node in nodes:
            node.step()
    assert len({node.cluster_id for node in nodes}) == 1
    assert nodes[0].cluster_id
    assert len({node.bound for node in nodes}) == 1
    assert not any(node.refused for node in nodes)


@pytest.mark.parametrize("seed", range(300))
def test_disks_lost_while_forming_never_make_two_clusters_with_a_disk_in_common(seed):
    random = Random(seed)
    nodes, in_flight, founded = [Node(name) for name in NAMES], [], {}
    for _ in range(200):
        act(random, nodes, in_flight, (1, 0.3))
        for node in nodes:
            if node.cluster_id:
                founded[node.cluster_id] = frozenset(one.uuid for one in node.bound)
    for first, second in itertools.combinations(founded.values(), 2):
        assert not first & second


def test_the_fault_runs_found_clusters_and_refuse_disks():
    outcomes = set()
    for seed in range(60):
        random = Random(seed)
        nodes, in_flight = [Node(name) for name in NAMES], []
        for _ in range(200):
            act(random, nodes, in_flight, (1, 0.3))
            outcomes |= {"founded" for node in nodes if node.cluster_id}
            outcomes |= {"refused" for node in nodes if node.refused}
    assert outcomes == {"founded", "refused"}
