import contextlib
import itertools
import os
import pickle
import resource
import socket
import struct

import pytest
from statehouse_cluster.connection import WINDOW_BYTES_MAX, is_connected_to_itself
from statehouse_cluster.hello import encode_hello
from statehouse_cluster.incoming import GUESTS_MAX
from statehouse_cluster.interfaces import Member
from statehouse_cluster.links import REPORTS_MAX
from statehouse_cluster.wire import FRAME_BYTES_MAX, WireError, encode, frame

from tests.helpers.peers import Peer, is_ended, linked, raw_link, until

GARBAGE = {
    "an oversized frame": struct.pack("!II", FRAME_BYTES_MAX + 1, 0),
    "a damaged frame": struct.pack("!II", 3, 0) + b"abc",
    "no message": frame(b"\xffabc"),
    "an empty message": frame(b""),
    "a pickle": frame(pickle.dumps({"type": "x_reject"})),
    "a web request": b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
}


@pytest.fixture
def peers():
    made = []

    def start(name, **options):
        made.append(Peer(name, **options))
        return made[-1]

    yield start
    for peer in made:
        peer.close()


@pytest.fixture
def pair(peers):
    first, second = peers("a"), peers("b")
    linked(first, second)
    return first, second


@pytest.fixture
def sockets():
    opened = []
    yield opened
    for one in opened:
        one.close()


def vote(term):
    return {"type": "response_vote", "x_term": term, "term": term}


def append(size):
    entry = (b"x" * size, 1, 1)
    fields = {"x_term": 1, "term": 1, "commit_index": 0, "prevLogIdx": 0, "prevLogTerm": 0}
    return {"type": "append_entries", **fields, "entries": [entry], "x_round": 0}


def terms(peer):
    return [message["term"] for _, message in peer.messages]


def test_messages_arrive_in_order_in_both_directions(pair):
    first, second = pair
    for term in range(100):
        assert first.links.send("b", vote(term))
        assert second.links.send("a", vote(term))
    until(lambda: len(first.messages) == len(second.messages) == 100, *pair)
    assert terms(first) == terms(second) == list(range(100))
    assert {name for name, _ in second.messages} == {"a"}
    assert first.links.heard == {"b"}


def test_nothing_is_sent_to_whom_no_link_goes(peers):
    first, second = peers("a"), peers("b")
    assert not first.links.send("b", vote(1))
    first.dial(second)
    assert not first.links.send("b", vote(1))
    assert not first.links.is_full("b")


def test_a_message_that_is_none_is_an_error_of_the_sender(pair):
    first, _ = pair
    with pytest.raises(WireError):
        first.links.send("b", {"type": "apply_command"})
    assert first.links.connected == {"b"}


def test_a_peer_that_starts_again_is_dialed_again(peers, pair):
    first, second = pair
    second.close()
    until(lambda: first.disconnected == ["b"] and first.closed_by == ["b"], first)
    assert first.links.connected == first.links.heard == frozenset()
    assert not first.links.send("b", vote(1))
    again = Peer("b", port=second.port)
    until(lambda: first.connected == ["b", "b"], first, again)
    again.dial(first)
    first.links.send("b", vote(7))
    until(lambda: terms(again) == [7], first, again)
    again.close()


def test_a_peer_that_moves_is_dialed_at_its_new_address(peers, pair):
    first, second = pair
    second.close()
    moved = peers("b")
    first.links.dial("b", moved.address)
    until(lambda: first.links.connected == {"b"}, first, moved)


def test_dialing_what_is_dialed_already_changes_nothing(pair):
    first, second = pair
    first.dial(second)
    assert first.links.connected == {"b"}
    assert first.connected == ["b"]


def test_a_large_message_to_a_slow_reader_goes_on_by_itself(pair):
    first, second = pair
    assert first.links.send("b", append(4 * 1024 * 1024))
    assert first.links.send("b", vote(9))
    for _ in range(20):
        first.turn()
    assert not second.messages
    until(lambda: len(second.messages) == 2, *pair)
    assert len(second.messages[0][1]["entries"][0][0]) == 4 * 1024 * 1024
    assert second.messages[1][1] == vote(9)


def test_a_full_window_takes_nothing_more_and_loses_nothing(pair):
    first, second = pair
    accepted = 0
    while first.links.send("b", append(1024 * 1024)):
        accepted += 1
        first.turn(0)
        assert accepted < 200, "the window has no end"
    link = first.links._outgoing["b"]
    assert WINDOW_BYTES_MAX - 1024 * 1024 - 1024 < link.queued_bytes <= WINDOW_BYTES_MAX
    while first.links.send("b", append(100)):
        accepted += 1
    assert not first.links.send("b", append(FRAME_BYTES_MAX - 100))
    until(lambda: len(second.messages) == accepted, *pair)
    assert link.queued_bytes == 0
    assert first.links.send("b", vote(1))


def test_a_window_is_told_to_be_full_before_anything_is_encoded(pair):
    first, _ = pair
    link = first.links._outgoing["b"]
    link._connection.queued_bytes = WINDOW_BYTES_MAX
    assert first.links.is_full("b")
    assert not first.links.send("b", vote(1))
    link._connection.queued_bytes = 0


def test_late_frames_of_a_replaced_connection_are_dropped(peers, sockets):
    peer, before = peers("b"), Peer("a")
    older, _ = raw_link(peer, before.hello())
    sockets.append(older)
    late = frame(encode(vote(66)))
    older.send(frame(encode(vote(1))) + late[:5])
    until(lambda: terms(peer) == [1], peer)
    newer, reply = raw_link(peer, before.hello())
    sockets.append(newer)
    assert reply.ok
    # It may be closed already, and that is what is asked for.
    with contextlib.suppress(ConnectionError):
        older.send(late[5:] + late)
    newer.send(frame(encode(vote(2))))
    until(lambda: len(peer.messages) == 2 and is_ended(older), peer)
    assert terms(peer) == [1, 2]
    assert peer.closed_by == []
    newer.close()
    until(lambda: peer.closed_by == ["a"], peer)
    before.close()


def test_frames_that_wait_unread_when_the_replacement_is_taken_are_dropped(peers, sockets):
    peer, before = peers("b"), Peer("a")
    older, _ = raw_link(peer, before.hello())
    newer = socket.create_connection(("127.0.0.1", peer.port))
    sockets += [older, newer]
    until(lambda: peer.links._incoming.guest_count == 1, peer)
    # Both become readable before the next poll, in this order: they share one batch.
    newer.sendall(frame(encode_hello(before.hello())))
    older.sendall(frame(encode(vote(66))))
    until(lambda: is_ended(older), peer)
    newer.sendall(frame(encode(vote(5))))
    until(lambda: peer.messages, peer)
    assert terms(peer) == [5]
    before.close()


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_on_a_link_closes_that_connection_only(pair, sockets, kind, monkeypatch):
    first, second = pair
    stranger = Peer("c")
    bad, _ = raw_link(second, stranger.hello())
    sockets.append(bad)
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("a pickle was read"))
    bad.send(GARBAGE[kind])
    until(lambda: is_ended(bad), *pair)
    assert second.closed_by == ["c"]
    assert second.reports
    first.links.send("b", vote(3))
    until(lambda: terms(second) == [3], *pair)
    stranger.close()


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_instead_of_a_hello_closes_that_connection_only(pair, sockets, kind, monkeypatch):
    first, second = pair
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("a pickle was read"))
    bad = socket.create_connection(("127.0.0.1", second.port))
    sockets.append(bad)
    bad.sendall(GARBAGE[kind])
    bad.setblocking(False)
    until(lambda: is_ended(bad), *pair)
    first.links.send("b", vote(3))
    until(lambda: terms(second) == [3], *pair)
    assert first.disconnected == second.disconnected == []


def test_who_does_not_wait_for_the_reply_is_closed(peers, sockets):
    peer, before = peers("b"), Peer("a")
    for extra in (frame(encode(vote(1))), b"\0"):
        connection, _ = raw_link(peer, before.hello(), extra=extra)
        sockets.append(connection)
        until(lambda connection=connection: is_ended(connection), peer)
    assert peer.messages == []
    assert peer.links.heard == frozenset()
    before.close()


def test_who_sends_on_a_link_that_is_not_his_to_send_on_is_dialed_again(peers, sockets):
    dialer = peers("a")
    answers = peers("b")
    dialer.dial(answers)
    until(lambda: dialer.links.connected == {"b"}, dialer, answers)
    answers.links._incoming._links["a"].send(encode(vote(1)))
    until(lambda: dialer.disconnected == ["b"], dialer, answers)
    assert dialer.messages == []
    until(lambda: dialer.links.connected == {"b"}, dialer, answers)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"cluster_id": "another"}, "wrong-cluster"),
        ({"uuid": "of another disk"}, "wrong-uuid"),
        ({"name": "z"}, "unknown-member"),
        ({"cluster_id": ""}, "not-ready"),
    ],
)
def test_who_does_not_belong_is_refused_and_told_why(peers, options, code):
    stranger, peer = peers(**({"name": "a"} | options)), peers("b")
    stranger.dial(peer)
    until(lambda: stranger.refusals, stranger, peer)
    assert stranger.refusals[0] == ("b", code)
    assert stranger.links.connected == peer.links.heard == frozenset()
    assert peer.connected == []


def test_who_is_refused_is_taken_as_soon_as_it_is_known(peers):
    newcomer, peer = peers("d"), peers("b")
    newcomer.dial(peer)
    until(lambda: newcomer.refusals, newcomer, peer)
    peer.members += (Member("d", "uuid-d", "", ""),)
    until(lambda: newcomer.links.connected == {"b"}, newcomer, peer)


def test_a_node_that_answers_under_another_name_is_refused(peers):
    first, other = peers("a"), peers("c")
    first.links.dial("b", other.address)
    until(lambda: first.refusals, first, other)
    assert first.refusals[0] == ("b", "wrong-name")


def test_a_node_that_answers_with_another_disk_is_refused(peers):
    first, second = peers("a"), peers("b")
    first.links.dial("b", second.address, "the disk it had")
    until(lambda: first.refusals, first, second)
    assert first.refusals[0] == ("b", "wrong-uuid")
    assert first.links.connected == frozenset()


def test_a_node_of_another_cluster_is_refused_by_who_dials(peers, monkeypatch):
    first, second = peers("a"), peers("b", cluster_id="c2")
    careless = second.admit(second.hello(name="a", uuid="uuid-a"))
    monkeypatch.setattr(second, "admit", lambda hello: careless)
    first.dial(second)
    until(lambda: first.refusals, first, second)
    assert first.refusals[0] == ("b", "wrong-cluster")


def test_a_node_does_not_link_with_itself(peers):
    peer = peers("a")
    peer.links.dial("b", peer.address)
    until(lambda: peer.refusals, peer)
    assert peer.refusals[0] == ("b", "wrong-name")
    alone = socket.socket()
    alone.bind(("127.0.0.1", 0))
    alone.connect(alone.getsockname())
    assert is_connected_to_itself(alone)
    alone.close()
    assert not is_connected_to_itself(alone)


def test_want_of_descriptors_does_not_end_the_listener(peers, sockets):
    peer, before = peers("b"), Peer("a")
    waiting = [socket.create_connection(("127.0.0.1", peer.port)) for _ in range(3)]
    sockets += waiting
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        until(lambda: any("cannot be accepted" in line for line in peer.reports), peer)
        for _ in range(5):
            peer.turn(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert sum("cannot be accepted" in line for line in peer.reports) == 1, "it rests"
    connection, reply = raw_link(peer, before.hello())
    sockets.append(connection)
    assert reply.ok
    before.close()


def test_idle_strangers_neither_stay_nor_keep_peers_out(peers, sockets):
    first, second = peers("a"), peers("b")
    for _ in range(GUESTS_MAX + 20):
        sockets.append(socket.create_connection(("127.0.0.1", second.port)))
        second.turn(0)
    until(lambda: second.links._incoming.guest_count == GUESTS_MAX, second)
    first.dial(second)
    until(lambda: first.links.connected == {"b"}, first, second)
    second.ahead_s += 3
    until(lambda: second.links._incoming.guest_count == 0, second)
    for one in sockets:
        one.setblocking(False)
    until(lambda: all(is_ended(one) for one in sockets), second)
    assert second.links.heard == {"a"}


def test_a_listener_that_never_answers_is_given_up_and_tried_again(peers, sockets):
    peer = peers("a")
    silent = socket.create_server(("127.0.0.1", 0))
    sockets.append(silent)
    peer.links.dial("b", f"127.0.0.1:{silent.getsockname()[1]}")
    for _ in range(2):
        accepted = []
        silent.setblocking(False)

        def taken(accepted=accepted):
            try:
                accepted.append(silent.accept()[0])
            except BlockingIOError:
                return False
            return True

        until(taken, peer)
        sockets += accepted
        accepted[0].setblocking(False)
        peer.turn()
        peer.ahead_s += 3
        until(lambda accepted=accepted: is_ended_after_hello(accepted[0]), peer)
    assert any("no answer to the hello" in line for line in peer.reports)


def is_ended_after_hello(connection):
    while True:
        try:
            if not connection.recv(65536):
                return True
        except BlockingIOError:
            return False


def test_a_dial_that_hangs_is_given_up(peers, sockets):
    peer = peers("a")
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    sockets.append(full)
    for _ in range(4):  # More than the backlog takes: the kernel answers no further dial.
        hanging = socket.socket()
        hanging.setblocking(False)
        hanging.connect_ex(full.getsockname())
        sockets.append(hanging)
    peer.links.dial("b", f"127.0.0.1:{full.getsockname()[1]}")
    for _ in range(3):
        peer.turn()
    peer.ahead_s += 1.5
    until(lambda: any("no answer to dialing" in line for line in peer.reports), peer)


def test_a_link_over_a_cut_network_is_given_up_after_seconds(pair):
    dialed = pair[0].links._outgoing["b"]._connection._socket
    assert dialed.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
    assert dialed.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    assert dialed.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def test_a_host_name_is_looked_up_beside_the_thread(peers):
    first, second = peers("a"), peers("b")
    first.links.dial("b", f"localhost:{second.port}")
    until(lambda: first.links.connected == {"b"}, first, second)


@pytest.mark.parametrize(
    "address", ["host.invalid:1", "no address", "127.0.0.1:99999", "x" * 99 + ":1"]
)
def test_an_address_that_leads_nowhere_is_reported_once(peers, address):
    peer = peers("a")
    peer.links.dial("b", address)
    until(lambda: peer.reports, peer)
    peer.ahead_s += 5
    for _ in range(20):
        peer.turn()
    assert len(peer.reports) == 1
    assert address in peer.reports[0]


def test_an_answer_to_a_look_up_that_comes_after_the_drop_is_nobodys(peers):
    first, second = peers("a"), peers("b")
    first.links.dial("b", f"localhost:{second.port}")
    first.links.tick()
    first.links.drop("b")
    for _ in range(50):
        first.turn()
        second.turn()
    assert first.links.connected == frozenset()
    assert second.links.heard == frozenset()


def test_a_dropped_peer_is_neither_sent_to_nor_heard_nor_called_back_about(pair):
    first, second = pair
    first.links.drop("b")
    until(lambda: second.disconnected == ["a"] and second.closed_by == ["a"], *pair)
    assert not first.links.send("b", vote(1))
    assert first.disconnected == first.closed_by == []


def test_a_peer_dropped_by_a_message_sends_no_other(pair):
    first, second = pair
    second.react = lambda name, message: second.links.drop(name)
    for term in range(5):
        first.links.send("b", vote(term))
    until(lambda: first.disconnected, *pair)
    assert terms(second) == [0]


def test_links_closed_within_a_callback_end_quietly(pair):
    first, second = pair
    second.react = lambda name, message: second.links.close()
    for term in range(5):
        first.links.send("b", vote(term))
    until(lambda: first.closed_by == ["b"], first, *([second] if not second.messages else []))
    assert len(second.messages) <= 1
    second.turn()


def test_who_lingers_gets_what_was_queued_first(pair):
    first, second = pair
    first.links.send("b", append(4 * 1024 * 1024))
    first.links.send("b", vote(8))
    first.links.linger("b")
    assert not first.links.send("b", vote(9))
    assert first.links.connected == frozenset()
    until(lambda: second.closed_by == ["a"], *pair)
    assert [message["type"] for _, message in second.messages] == [
        "append_entries",
        "response_vote",
    ]
    assert first.links._lingering == {}


def test_who_lingers_and_reads_nothing_is_let_go(pair):
    first, _ = pair
    for _ in range(30):
        first.links.send("b", append(1024 * 1024))
    first.links.linger("b")
    first.turn()
    assert first.links._lingering
    first.ahead_s += 1.5
    first.turn()
    assert first.links._lingering == {}


def test_a_send_to_a_peer_that_just_died_calls_nobody_back(pair):
    first, second = pair
    inbound = second.links._incoming._links["a"]._socket
    inbound.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    second.links.drop("a")  # A reset: the next write of the first fails at once.
    for term in range(3):
        first.links.send("b", vote(term))
    assert first.disconnected == []
    until(lambda: first.disconnected == ["b"], first)
    until(lambda: first.links.connected == {"b"}, *pair)


def test_a_snapshot_socket_is_handed_over_blocking_with_its_reply_sent(peers, sockets):
    peer, fetcher = peers("b"), Peer("a")
    connection, reply = raw_link(peer, fetcher.hello(purpose="snapshot", snapshot_id="s1"))
    sockets.append(connection)
    assert reply.ok
    handed, hello = peer.fetchers[0]
    assert hello.snapshot_id == "s1"
    assert handed.getblocking()
    handed.sendall(b"the file")
    connection.setblocking(True)
    assert connection.recv(100) == b"the file"
    assert peer.links.heard == frozenset()
    fetcher.close()


def test_a_stranger_gets_no_snapshot(peers, sockets):
    peer, stranger = peers("b"), Peer("z")
    connection, reply = raw_link(peer, stranger.hello(purpose="snapshot"))
    sockets.append(connection)
    assert (reply.ok, reply.code) == (False, "unknown-member")
    assert peer.fetchers == []
    stranger.close()


def test_noise_is_counted_not_written(peers, sockets):
    peer = peers("b")
    for _ in range(REPORTS_MAX + 10):
        bad = socket.create_connection(("127.0.0.1", peer.port))
        sockets.append(bad)
        bad.sendall(GARBAGE["a web request"])
        bad.setblocking(False)
        until(lambda bad=bad: is_ended(bad), peer)
    assert len(peer.reports) <= REPORTS_MAX
    peer.ahead_s += 2
    bad = socket.create_connection(("127.0.0.1", peer.port))
    sockets.append(bad)
    bad.sendall(GARBAGE["a web request"])
    until(lambda: any("left out" in line for line in peer.reports), peer)


def test_three_peers_survive_that_one_of_them_comes_and_goes(peers):
    first, second = peers("a"), peers("b")
    linked(first, second)
    port = 0
    for round_number in range(4):
        third = Peer("c", port=port)
        port = third.port
        for one, other in itertools.permutations((first, second, third), 2):
            one.dial(other)
        everyone = (first, second, third)
        until(
            lambda everyone=everyone: all(len(p.links.connected) == 2 for p in everyone), *everyone
        )
        assert first.links.send("c", vote(round_number))
        until(lambda third=third, n=round_number: terms(third) == [n], *everyone)
        third.close()
        until(lambda: "c" not in first.links.connected | second.links.connected, first, second)
    assert "b" in first.links.connected


def test_no_descriptor_is_left_over(peers):
    before = len(os.listdir("/proc/self/fd"))
    first, second = Peer("a"), Peer("b")
    linked(first, second)
    first.close()
    second.turn()
    second.close()
    assert len(os.listdir("/proc/self/fd")) == before
