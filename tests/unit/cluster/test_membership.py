"""Who is a member, how one change follows another, and which changes are refused."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster.interfaces import Member
from statehouse_cluster.membership import (
    Change,
    Configuration,
    decode_change,
    decode_configuration,
    encode_change,
    encode_configuration,
    fold,
    majority,
    refusal,
)


def member(name, uuid=""):
    return Member(name, uuid or f"uuid of {name}", f"{name}:1", f"{name}:2")


def cluster(*names):
    return Configuration(tuple(member(name) for name in names))


names = st.sampled_from(["n1", "n2", "n3", "n4", "n5"])
changes = st.lists(st.tuples(st.sampled_from(Change), names.map(member)), max_size=12)


def test_a_change_counts_for_everyone_after_it():
    configuration = cluster("n1", "n2").after(Change.ADD, member("n3"))
    assert configuration.names == {"n1", "n2", "n3"}
    configuration = configuration.after(Change.REMOVE, member("n1"))
    assert configuration.names == {"n2", "n3"}
    assert configuration.removed == ("uuid of n1",)


def test_a_member_is_found_by_its_name():
    assert cluster("n1", "n2").get("n2") == member("n2")
    assert cluster("n1", "n2").get("n9") is None


def test_a_removal_by_name_alone_remembers_the_disk():
    removed = cluster("n1", "n2").after(Change.REMOVE, Member("n2", "", "", ""))
    assert removed.removed == ("uuid of n2",)


def test_removing_a_stranger_changes_nothing():
    assert cluster("n1").after(Change.REMOVE, member("n9")) == cluster("n1")


def test_the_list_of_removed_disks_is_bounded():
    configuration = cluster("n0")
    for number in range(1, 1100):
        passing = member(f"p{number}")
        configuration = configuration.after(Change.ADD, passing).after(Change.REMOVE, passing)
    assert len(configuration.removed) == 1024
    assert configuration.removed[-1] == "uuid of p1099"


@given(changes)
def test_members_are_in_order_and_each_is_there_once(steps):
    configuration = cluster("n1", "n2", "n3")
    for step in steps:
        configuration = configuration.after(*step)
    listed = [m.name for m in configuration.members]
    assert listed == sorted(set(listed))


@given(changes)
def test_a_configuration_and_its_changes_survive_their_bytes(steps):
    configuration = cluster("n1", "n2", "n3")
    payloads = [encode_change(*step) for step in steps]
    assert [decode_change(payload) for payload in payloads] == steps
    folded = fold(configuration, payloads)
    for step in steps:
        configuration = configuration.after(*step)
    assert folded == configuration
    assert decode_configuration(encode_configuration(configuration)) == configuration


@pytest.mark.parametrize("payload", [b"", b"\xc0", b"\x92\xa3add\xc0", b"\x00", b"{}"])
def test_other_bytes_are_no_change_and_no_configuration(payload):
    with pytest.raises((msgspec.DecodeError, ValueError)):
        decode_change(payload)
    with pytest.raises(msgspec.DecodeError):
        decode_configuration(payload)


def test_an_unknown_kind_of_change_is_refused():
    payload = encode_change(Change.ADD, member("n1")).replace(b"\xa3add", b"\xa3xyz")
    with pytest.raises(ValueError, match="xyz"):
        decode_change(payload)


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_a_majority_is_more_than_half(voters, needed):
    assert majority(voters) == needed


ALL = ("n1", "n2", "n3", "n4")


def why(change, name, *, connected=ALL, configuration=None, uuid=""):
    configuration = configuration or cluster("n1", "n2", "n3")
    return refusal(configuration, change, member(name, uuid), "n1", connected)


def test_sound_changes_are_not_refused():
    assert why(Change.ADD, "n4") == ""
    assert why(Change.REMOVE, "n3") == ""


def test_a_name_is_never_given_twice():
    assert "exists already" in why(Change.ADD, "n2")
    assert "exists already" in why(Change.ADD, "n2", uuid="another disk")


def test_a_removed_disk_never_comes_back():
    configuration = cluster("n1", "n2", "n3", "n4").after(Change.REMOVE, member("n4"))
    text = why(Change.ADD, "n9", configuration=configuration, uuid="uuid of n4")
    assert "removed before" in text


def test_a_stranger_cannot_be_removed():
    assert "no member named n9" in why(Change.REMOVE, "n9")


def test_the_leader_does_not_remove_itself():
    assert "transfer the leadership first" in why(Change.REMOVE, "n1")


def test_a_change_that_would_leave_no_reachable_majority_is_refused():
    text = why(Change.ADD, "n4", connected=("n1", "n2"))
    assert "4 voters of which 2 can be reached, 3 are needed" in text
    assert "can be reached" in why(Change.REMOVE, "n2", connected=("n1",))
    assert why(Change.REMOVE, "n2", connected=("n1", "n3")) == ""


def test_the_dead_one_of_two_can_go_and_the_last_one_cannot():
    two = cluster("n1", "n2")
    assert why(Change.REMOVE, "n2", connected=("n1",), configuration=two) == ""
    assert "transfer" in why(Change.REMOVE, "n1", configuration=cluster("n1"))
