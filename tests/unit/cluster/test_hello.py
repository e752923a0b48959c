import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster.hello import (
    HELLO_BYTES_MAX,
    Hello,
    HelloReply,
    VersionMismatch,
    decode_hello,
    decode_reply,
    encode_hello,
    encode_reply,
    judge,
)
from statehouse_cluster.interfaces import Member
from statehouse_cluster.wire import WireError

HELLO = Hello("raft", "n2", "u2", "c1", "h:2", "h:20", "n1", "snap")
MEMBERS = (Member("n1", "u1", "h:1", "h:10"), Member("n2", "u2", "h:2", "h:20"))
ME = HelloReply(True, "", "", "n1", "u1", "c1", "h:1", "h:10", "member", MEMBERS)

TEXT = st.text(max_size=30)
MEMBER = st.builds(Member, TEXT, TEXT, TEXT, TEXT)


def change(struct_, **changes):
    return msgspec.structs.replace(struct_, **changes)


@given(st.builds(Hello, st.sampled_from(["raft", "snapshot", "probe"]), *[TEXT] * 7))
def test_a_hello_comes_back_as_it_was(hello):
    assert decode_hello(encode_hello(hello)) == hello


@given(
    st.builds(
        HelloReply,
        st.just(False),
        st.sampled_from(["wrong-cluster", "removed", "not-ready"]),
        *[TEXT] * 6,
        st.sampled_from(["forming", "joining", "member", "removed"]),
        st.lists(MEMBER, max_size=4).map(tuple),
    )
)
def test_a_reply_comes_back_as_it_was(reply):
    assert decode_reply(encode_reply(reply)) == reply


@given(st.binary(max_size=100), st.data())
def test_garbage_is_refused_with_a_wire_error_only(garbage, data):
    hello, reply = encode_hello(HELLO), encode_reply(ME)
    place = data.draw(st.integers(0, len(hello)))
    for payload in (garbage, hello[:7] + garbage, hello[:place] + garbage, hello + garbage):
        for decoder in (decode_hello, decode_reply):
            try:
                decoded = decoder(payload)
            except WireError:
                continue
            assert decoder is decode_hello
            assert encode_hello(decoded) == payload
    with pytest.raises(WireError):
        decode_hello(reply)


def test_a_second_encoding_of_a_hello_is_refused():
    payload = encode_reply(ME)
    marked = payload.replace(b"\xa4name", b"\xd9\x04name", 1)
    assert marked != payload
    with pytest.raises(WireError, match="one encoding"):
        decode_reply(marked)


def test_another_version_is_told_apart_from_garbage():
    payload = bytearray(encode_hello(HELLO))
    payload[5:7] = struct.pack("!H", 9)
    with pytest.raises(VersionMismatch, match="version 9"):
        decode_hello(bytes(payload))


def test_a_hello_of_too_many_bytes_is_neither_made_nor_read():
    many = tuple(Member("n" * 4000, "", "", "") for _ in range(20))
    with pytest.raises(WireError, match="over"):
        encode_reply(change(ME, members=many))
    with pytest.raises(WireError):
        decode_hello(bytes(HELLO_BYTES_MAX + 1))


def test_text_that_is_no_unicode_cannot_be_sent():
    with pytest.raises(WireError, match="Unicode"):
        encode_hello(change(HELLO, name="\ud800"))


def test_a_reply_that_says_yes_and_no_is_refused():
    with pytest.raises(WireError, match="yes and no"):
        decode_reply(encode_reply(change(ME, code="removed")))


@pytest.mark.parametrize(
    ("hello", "me", "code"),
    [
        ({}, {}, ""),
        ({"purpose": "snapshot"}, {}, ""),
        ({"target_name": ""}, {}, ""),
        ({"target_name": "n3"}, {}, "wrong-name"),
        ({"name": "n1", "uuid": "u1"}, {}, "wrong-name"),
        ({"cluster_id": "c2"}, {}, "wrong-cluster"),
        ({"cluster_id": ""}, {}, "not-ready"),
        ({"name": "n9"}, {}, "unknown-member"),
        ({"uuid": "u9"}, {}, "wrong-uuid"),
        ({}, {"state": "removed"}, "removed"),
        ({}, {"state": "forming", "cluster_id": ""}, "not-ready"),
        ({}, {"state": "forming"}, "not-ready"),
        ({}, {"state": "joining", "cluster_id": ""}, ""),
        ({"name": "n9"}, {"state": "joining"}, ""),
        ({}, {"state": "joining", "cluster_id": "c2"}, "wrong-cluster"),
        ({"cluster_id": ""}, {"state": "joining", "cluster_id": ""}, "not-ready"),
        ({"purpose": "probe", "cluster_id": "c9", "name": "x"}, {}, ""),
        ({"purpose": "probe"}, {"state": "removed"}, ""),
        ({"purpose": "probe", "target_name": "n3"}, {}, "wrong-name"),
    ],
)
def test_a_hello_is_judged_by_who_asks_and_who_answers(hello, me, code):
    reply = judge(change(HELLO, **hello), change(ME, **me), MEMBERS)
    assert (reply.ok, reply.code) == (code == "", code)
    assert bool(reply.text) == (code != "")
    assert (reply.name, reply.uuid) == ("n1", "u1")
