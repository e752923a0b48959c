import contextlib
import socket
import struct
import threading

import msgspec
import pytest
from statehouse_cluster.hello import encode_hello, encode_reply
from statehouse_cluster.probe import ProbeFailed, open_stream, probe
from statehouse_cluster.wire import frame

from tests.helpers.peers import Peer
from tests.helpers.waiting import eventually


@pytest.fixture
def asker():
    peer = Peer("z", cluster_id="")
    yield peer.hello()
    peer.close()


@pytest.fixture
def served():
    """A peer that serves on a thread of its own, as the raft thread does."""
    peer, stop = Peer("a"), threading.Event()

    def serve():
        while not stop.is_set():
            peer.turn(0.01)

    thread = threading.Thread(target=serve)
    thread.start()
    yield peer
    stop.set()
    thread.join()
    peer.close()


@contextlib.contextmanager
def answering(data, *, then_close=True):
    """A listener that answers one connection with these bytes; yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                with contextlib.suppress(OSError):
                    connection.sendall(data)
                if not then_close:
                    done.wait(10)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        done.set()
        thread.join()


def test_a_probe_is_told_who_is_there_whoever_asks(served, asker):
    reply = probe(served.address, asker, 5.0)
    assert (reply.ok, reply.name, reply.uuid, reply.cluster_id) == (True, "a", "uuid-a", "c1")
    assert [member.name for member in reply.members] == ["a", "b", "c"]
    assert served.links.heard == frozenset()


def test_a_probe_at_an_address_that_is_somebody_elses_is_refused(served, asker):
    reply = probe(served.address, msgspec.structs.replace(asker, target_name="b"), 5.0)
    assert (reply.ok, reply.code) == (False, "wrong-name")


def test_a_stream_carries_bytes_after_its_hello(served):
    member = Peer("b")
    connection, reply = open_stream(served.address, member.hello(purpose="snapshot"), 5.0)
    assert reply.ok
    assert connection.gettimeout() is None
    eventually(lambda: served.fetchers)
    served.fetchers[0][0].sendall(b"content")
    assert connection.recv(100) == b"content"
    connection.close()
    member.close()


def test_nobody_there_is_a_failed_probe(asker):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ProbeFailed, match=f"127.0.0.1:{port}"):
        probe(f"127.0.0.1:{port}", asker, 1.0)


@pytest.mark.parametrize("address", ["nonsense", "host.invalid:5"])
def test_an_address_that_leads_nowhere_is_a_failed_probe(address, asker):
    with pytest.raises(ProbeFailed, match=address):
        probe(address, asker, 1.0)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "closed before a reply"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "over the limit"),
        (frame(b"abc"), "no hello"),
        (struct.pack("!II", 3, 1) + b"abc", "checksum"),
        (frame(b"SHPP\x02" + struct.pack("!H", 7)), "version 7"),
    ],
)
def test_an_answer_of_something_else_is_a_failed_probe(data, what, asker):
    with answering(data) as address, pytest.raises(ProbeFailed, match=what):
        probe(address, asker, 5.0)


def test_more_than_a_reply_is_a_failed_probe(asker):
    peer = Peer("a")
    reply = frame(encode_reply(peer.admit(asker)))
    peer.close()
    for extra in (b"\0", frame(encode_hello(asker))):
        with answering(reply + extra) as address, pytest.raises(ProbeFailed, match="more than"):
            probe(address, asker, 5.0)


def test_silence_is_a_failed_probe_when_its_time_is_over(asker):
    with answering(b"", then_close=False) as address, pytest.raises(ProbeFailed, match="timed out"):
        probe(address, asker, 0.2)
