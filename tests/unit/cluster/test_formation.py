import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from statehouse_cluster.formation import FormationRefused, FormationStopped, form
from statehouse_cluster.founding import cluster_id_of
from statehouse_cluster.hello import Hello, HelloReply, judge
from statehouse_cluster.identity import DataDirectory, Identity
from statehouse_cluster.interfaces import Member
from statehouse_cluster.links import PeerLinks, open_listener
from statehouse_cluster.poller import Poller
from statehouse_cluster.probe import probe

from tests.helpers.waiting import eventually

DEADLINE_S = 20.0


class Crash(BaseException):
    """Ends a forming node at a chosen store, before or after it reached the disk."""


class Serving:
    """A formed node that answers probes, as the raft thread does after `form`."""

    def __init__(self, identity, listener):
        self._identity = identity
        self._stop = threading.Event()
        self._listener = listener
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        me = Hello("raft", self._identity.name, self._identity.uuid, "", "", "")
        poller = Poller()
        links = PeerLinks(me, poller, time.monotonic, Random(1), self, lambda line: None)
        links.serve(self._listener)
        while not self._stop.is_set():
            poller.poll(0.01)
            links.tick()
        links.close()
        poller.close()

    def admit(self, hello):
        identity = self._identity
        me = HelloReply(
            *(True, "", "", identity.name, identity.uuid, identity.cluster_id, "", ""),
            state="member",
            members=identity.bound_members,
        )
        return judge(hello, me, identity.bound_members)

    def close(self):
        self._stop.set()
        self._thread.join()


class Founders:
    """Nodes with a directory and a listening port each, formed on threads."""

    def __init__(self, root, names):
        self.root = root
        self.listeners = {name: open_listener("127.0.0.1", 0) for name in names}
        self.listed = {
            name: f"127.0.0.1:{listener.getsockname()[1]}"
            for name, listener in self.listeners.items()
        }
        self.directories = {}
        self.serving = []
        self.stop = threading.Event()
        self.reports = []
        self.pool = ThreadPoolExecutor(8)

    def start(self, name, *, listed=None, crash_at=None, client="c", timeout_s=DEADLINE_S):
        return self.pool.submit(self._run, name, listed or self.listed, crash_at, client, timeout_s)

    def _run(self, name, listed, crash_at, client, timeout_s):
        directory = DataDirectory.open(self.root / name)
        try:
            if crash_at is not None:
                crash(directory, *crash_at)
            identity = form(
                directory,
                directory.identify(name),
                listed,
                self.listeners[name],
                client_address=client,
                stop=self.stop,
                report=self.reports.append,
                timeout_s=timeout_s,
            )
        finally:
            directory.close()
        self.serving.append(Serving(identity, self.listeners[name]))
        return identity

    def wipe(self, name):
        for part in (self.root / name).iterdir():
            if part.is_dir():
                part.rmdir()
            else:
                part.unlink()

    def close(self):
        self.stop.set()
        self.pool.shutdown()
        for one in self.serving:
            one.close()
        for listener in self.listeners.values():
            listener.close()


def crash(directory, step, moment):
    """Makes the node die at its store number `step`, "before" or "after" it is durable."""
    store, stores = directory.store, []

    def store_or_die(identity):
        stores.append(identity)
        if len(stores) == step and moment == "before":
            raise Crash
        store(identity)
        if len(stores) == step:
            raise Crash

    directory.store = store_or_die


@pytest.fixture
def founders(tmp_path):
    made = []

    def make(names=("n1", "n2", "n3")):
        made.append(Founders(tmp_path, names))
        return made[-1]

    yield make
    for one in made:
        one.close()


def result(future):
    return future.result(DEADLINE_S)


def test_three_nodes_that_meet_have_one_cluster_and_one_configuration(founders):
    nodes = founders()
    futures = [nodes.start(name, client=f"client-{name}") for name in nodes.listed]
    identities = [result(future) for future in futures]
    bound = identities[0].bound_members
    assert {identity.cluster_id for identity in identities} == {cluster_id_of(bound)}
    assert {identity.bound_members for identity in identities} == {bound}
    assert bound == tuple(
        Member(one.name, one.uuid, nodes.listed[one.name], f"client-{one.name}")
        for one in sorted(identities, key=lambda one: one.name)
    )
    for name in nodes.listed:
        with_disk = DataDirectory.open(nodes.root / name)
        assert with_disk.load() in identities
        with_disk.close()


def test_one_node_alone_forms_at_once_without_a_listener(tmp_path):
    directory = DataDirectory.open(tmp_path / "n1")
    options = {"client_address": "c", "stop": threading.Event(), "report": print}
    formed = form(directory, directory.identify("n1"), {"n1": ""}, None, **options)
    assert formed == directory.load()
    assert formed.cluster_id == cluster_id_of(formed.bound_members)
    again = form(directory, formed, {"n1": "", "n2": "h:1"}, None, **options)
    assert again == formed
    directory.close()


def test_a_late_node_is_waited_for_and_the_waiting_is_told(founders, monkeypatch):
    monkeypatch.setattr("statehouse_cluster.formation.REPORT_INTERVAL_S", 0.0)
    nodes = founders()
    early = [nodes.start("n1"), nodes.start("n2")]
    eventually(lambda: any("n3 did not answer yet" in line for line in nodes.reports))
    assert not any(future.done() for future in early)
    late = nodes.start("n3")
    assert len({result(future).cluster_id for future in [*early, late]}) == 1


def test_a_node_that_forms_tells_who_it_is_and_lets_nobody_in(founders):
    nodes = founders()
    nodes.start("n1")
    asker = Hello("probe", "x", "ux", "", "", "")
    told = eventually(lambda: probe(nodes.listed["n1"], asker, 5.0))
    assert (told.ok, told.name, told.state, told.cluster_id) == (True, "n1", "forming", "")
    assert {(one.name, one.uuid) for one in told.members} == {("n1", ""), ("n2", ""), ("n3", "")}
    directory = nodes.root / "n1" / "identity.json"
    assert told.uuid in directory.read_text(), "durable before it is told"


def test_stopping_ends_the_waiting(founders):
    nodes = founders()
    waiting = nodes.start("n1")
    nodes.stop.set()
    with pytest.raises(FormationStopped, match="did not answer yet"):
        result(waiting)


def test_time_that_runs_out_ends_the_waiting(founders):
    with pytest.raises(FormationStopped, match="n2, n3 did not answer yet"):
        result(founders().start("n1", timeout_s=0.3))


# The stores of a node: 1 its uuid, 2 what it is bound to, 3 the cluster it belongs to.
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_node_that_crashes_at_any_step_comes_back_into_the_same_cluster(founders, step, moment):
    nodes = founders()
    others = [nodes.start("n1"), nodes.start("n2")]
    with pytest.raises(Crash):
        result(nodes.start("n3", crash_at=(step, moment)))
    identities = [result(future) for future in [*others, nodes.start("n3")]]
    assert len({identity.cluster_id for identity in identities}) == 1
    assert len({identity.bound_members for identity in identities}) == 1


def test_all_that_crash_around_their_binding_come_back_into_one_cluster(founders):
    nodes = founders()
    crashed = [nodes.start(name, crash_at=(2, "after")) for name in nodes.listed]
    # Who has not bound by then may wait for the others in vain; the stop ends that.
    eventually(lambda: any(future.done() for future in crashed))
    nodes.stop.set()
    assert all(isinstance(one.exception(DEADLINE_S), Crash | FormationStopped) for one in crashed)
    nodes.stop.clear()
    restarted = [nodes.start(name) for name in nodes.listed]
    identities = [result(future) for future in restarted]
    assert len({identity.cluster_id for identity in identities}) == 1


def test_a_restart_with_another_address_after_binding_keeps_the_first_configuration(founders):
    nodes = founders()
    others = [nodes.start("n1"), nodes.start("n2")]
    with pytest.raises(Crash):
        result(nodes.start("n3", crash_at=(3, "before"), client="first"))
    identities = [result(one) for one in [*others, nodes.start("n3", client="second")]]
    assert {identity.bound_members[2].client_address for identity in identities} == {"first"}


def test_a_wiped_node_is_refused_by_the_cluster_it_was_in(founders):
    nodes = founders()
    for future in [nodes.start(name) for name in nodes.listed]:
        result(future)
    nodes.serving.pop(
        next(place for place, one in enumerate(nodes.serving) if one._identity.name == "n3")
    ).close()
    nodes.wipe("n3")
    with pytest.raises(FormationRefused, match="this disk is not the one it knows"):
        result(nodes.start("n3"))


def test_a_disk_lost_while_forming_is_told_in_words_and_nothing_is_founded(founders):
    nodes = founders()
    uuids = {"n1": "1" * 32, "n2": "lost" * 8, "n3": "3" * 32}
    bound = tuple(Member(name, uuid, nodes.listed[name], "c") for name, uuid in uuids.items())
    for name in ("n1", "n3"):
        directory = DataDirectory.open(nodes.root / name)
        directory.store(Identity(name=name, uuid=uuids[name], bound_members=bound))
        directory.close()
    forming = [nodes.start(name) for name in nodes.listed]
    # Who meets the change first refuses and is gone; the others may wait for it in vain.
    eventually(lambda: any(one.done() for one in forming))
    nodes.stop.set()
    ends = [one.exception(DEADLINE_S) for one in forming]
    assert all(isinstance(end, FormationRefused | FormationStopped) for end in ends)
    refusals = [str(end) for end in ends if isinstance(end, FormationRefused)]
    assert refusals
    assert all("another disk of n2; no cluster has been founded" in text for text in refusals)


def test_different_lists_are_refused_on_both_sides(founders):
    nodes = founders()
    shorter = {name: at for name, at in nodes.listed.items() if name != "n3"}
    for future in [nodes.start("n1"), nodes.start("n2", listed=shorter)]:
        with pytest.raises(FormationRefused, match="start all with the same list"):
            result(future)


def test_swapped_addresses_are_refused(founders):
    nodes = founders()
    nodes.start("n1")
    swapped = nodes.listed | {"n1": nodes.listed["n3"], "n3": nodes.listed["n1"]}
    with pytest.raises(FormationRefused, match="the node at the address of n3 refused"):
        result(nodes.start("n2", listed=swapped))


def test_a_list_without_the_node_itself_is_refused(founders):
    nodes = founders()
    with pytest.raises(FormationRefused, match="not in its own list"):
        result(nodes.start("n1", listed={"n2": nodes.listed["n2"]}))
