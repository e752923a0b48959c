"""Operating: status, members, and changes of them."""

from __future__ import annotations

import json


def test_status_asks_every_member_itself(ctl, fake):
    shown = ctl("cluster", "status")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[:2] == ["Cluster: c-1", "Leader: n1"]
    assert [line.split()[0] for line in lines[3:]] == ["n1", "n2", "n3"]
    assert fake.asked_for_status == [
        None,
        "127.0.0.1:50051",
        "127.0.0.1:50052",
        "127.0.0.1:50053",
    ]


def test_a_silent_node_is_shown_and_is_exit_code_one(ctl, fake):
    fake.silent.add("127.0.0.1:50052")
    shown = ctl("cluster", "status")
    assert shown.code == 1
    assert "no answer" in shown.out
    told = json.loads(ctl("cluster", "status", "-o", "json").out)
    assert told["sound"] is False
    assert [node["answers"] for node in told["nodes"]] == [True, False, True]


def test_a_cluster_without_leader_is_exit_code_one(ctl, fake):
    fake.leader_name = ""
    shown = ctl("cluster", "status")
    assert shown.code == 1
    assert "Leader: none" in shown.out
    assert json.loads(ctl("cluster", "status", "-o", "json").out)["leaders"] == []


def test_members_are_a_table_or_a_list(ctl):
    table = ctl("cluster", "members").out.splitlines()
    assert table[0].split() == ["NAME", "CLIENTS", "PEERS", "VOTES", "NODE"]
    assert len(table) == 4
    listed = json.loads(ctl("cluster", "members", "-o", "json").out)
    assert [member["name"] for member in listed] == ["n1", "n2", "n3"]


def test_adding_tells_each_phase_on_stderr_and_the_end_on_stdout(ctl):
    ended = ctl("cluster", "add", "127.0.0.1:51054")
    assert (ended.code, ended.out) == (0, "n4 is a member and votes\n")
    assert ended.err.splitlines() == [
        "sending the state: 50 of 200 bytes (25 %)",
        "catching up: 7 log entries behind",
        "the new member votes",
    ]
    told = json.loads(ctl("cluster", "add", "127.0.0.1:51054", "-o", "json").out)
    assert told["member"]["peer_address"] == "127.0.0.1:51054"


def test_removing_shows_who_remains(ctl):
    assert ctl("cluster", "remove", "n3").out.splitlines()[0] == "n3 is no longer a member"
    remaining = json.loads(ctl("cluster", "remove", "n2", "-o", "json").out)
    assert [member["name"] for member in remaining] == ["n1"]


def test_transferring_tells_the_new_leader(ctl):
    assert ctl("cluster", "transfer", "n3").out == "n3 leads, in term 4\n"
    assert json.loads(ctl("cluster", "transfer", "-o", "json").out)["leader_name"] == "n2"
