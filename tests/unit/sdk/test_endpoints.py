"""Which node is asked next: the leader while believed in, rested nodes last, all in turn."""

from __future__ import annotations

from statehouse_sdk.endpoints import (
    REST_FIRST_S,
    REST_MAX_S,
    SILENCE_REST_S,
    Choice,
    Endpoints,
)


def ask(endpoints, now_s=0.0, *, leader=True):
    return endpoints.choose(now_s, leader=leader).address


def test_without_a_leader_nodes_are_asked_in_turn():
    endpoints = Endpoints(["a", "b", "c"])
    assert [ask(endpoints) for _ in range(4)] == ["a", "b", "c", "a"]


def test_the_leader_is_asked_again_and_again_but_not_for_stale_reads():
    endpoints = Endpoints(["a", "b"])
    endpoints.answered("b", as_leader=True)
    assert [ask(endpoints) for _ in range(3)] == ["b", "b", "b"]
    assert [ask(endpoints, leader=False) for _ in range(2)] == ["a", "b"]


def test_a_hint_is_followed_even_to_a_node_not_known():
    endpoints = Endpoints(["a"])
    endpoints.refused("a", "z", 3)
    assert ask(endpoints) == "z"
    assert endpoints.addresses == ("a", "z")


def test_a_hint_of_an_older_term_is_ignored():
    endpoints = Endpoints(["a", "b", "c"])
    endpoints.refused("a", "b", 5)
    endpoints.refused("c", "a", 4)
    assert endpoints.leader == "b"
    endpoints.refused("c", "a", 6)
    assert endpoints.leader == "a"


def test_a_hint_of_a_node_to_itself_is_no_hint():
    endpoints = Endpoints(["a", "b"])
    endpoints.refused("a", "a", 5)
    assert endpoints.leader == ""


def test_a_leader_that_refuses_is_believed_no_more():
    endpoints = Endpoints(["a", "b"])
    endpoints.answered("a", as_leader=True)
    endpoints.refused("a", "", 0)
    assert endpoints.leader == ""


def test_a_failed_node_rests_longer_each_time_and_others_are_asked():
    endpoints = Endpoints(["a", "b"])
    now_s, rests = 0.0, []
    for _ in range(8):
        endpoints.failed("a", now_s)
        assert ask(endpoints, now_s) == "b"
        rest_s = endpoints._nodes["a"].rests_until_s - now_s
        rests.append(rest_s)
        now_s += rest_s
    assert rests[0] == REST_FIRST_S
    assert rests == sorted(rests)
    assert max(rests) <= REST_MAX_S + 1e-9
    assert ask(endpoints, now_s) == "a"


def test_many_calls_failing_at_once_count_as_one_failure():
    endpoints = Endpoints(["a"])
    for _ in range(64):
        endpoints.failed("a", 0.0)
    assert endpoints.choose(0.0) == Choice("a", REST_FIRST_S)


def test_when_all_rest_the_first_to_wake_is_waited_for():
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("a", 0.0)
    endpoints.failed("b", 0.05)
    assert endpoints.choose(0.05).address == "a"
    assert 0 < endpoints.choose(0.05).wait_s <= REST_FIRST_S


def test_a_resting_leader_named_by_a_hint_is_not_hammered():
    endpoints = Endpoints(["a", "b"])
    endpoints.failed("b", 0.0)
    endpoints.refused("a", "b", 3)
    assert ask(endpoints, 0.0) == "a"


def test_followers_that_still_name_a_silent_leader_do_not_send_anybody_back_to_it():
    endpoints = Endpoints(["a", "b", "c"])
    endpoints.answered("a", as_leader=True)
    endpoints.failed("a", 0.0, silent=True)
    for now_s in (0.0, 0.3, 0.9 * SILENCE_REST_S):
        assert ask(endpoints, now_s) == "b"
        endpoints.refused("b", "a", 3)
        assert ask(endpoints, now_s) == "c"
        endpoints.refused("c", "a", 3)
    assert ask(endpoints, SILENCE_REST_S) == "a"


def test_a_node_silent_again_and_again_rests_longer_but_not_for_ever():
    endpoints = Endpoints(["a", "b"])
    now_s, rests = 0.0, []
    for _ in range(8):
        endpoints.failed("a", now_s, silent=True)
        rests.append(endpoints._nodes["a"].rests_until_s - now_s)
        now_s += rests[-1]
    assert rests[0] == SILENCE_REST_S
    assert rests == sorted(rests)
    assert abs(rests[-1] - REST_MAX_S) < 1e-9


def test_where_nobody_else_can_be_asked_a_silent_node_is_asked_again_soon():
    endpoints = Endpoints(["a"])
    endpoints.failed("a", 0.0, silent=True)
    assert endpoints.choose(0.0) == Choice("a", REST_FIRST_S)


def test_an_answer_ends_a_rest():
    endpoints = Endpoints(["a"])
    endpoints.failed("a", 0.0)
    endpoints.answered("a", as_leader=True)
    assert endpoints.choose(0.0) == Choice("a", 0.0)
    assert endpoints.contacted


def test_learned_nodes_replace_each_other_but_never_those_given():
    endpoints = Endpoints(["given"])
    endpoints.learned(["x", "y", ""])
    assert endpoints.addresses == ("given", "x", "y")
    endpoints.refused("x", "y", 1)
    endpoints.learned(["x"])
    assert endpoints.addresses == ("given", "x")
    assert ask(endpoints) in ("given", "x")


def test_news_of_a_node_that_is_gone_is_harmless():
    endpoints = Endpoints(["a"])
    endpoints.failed("gone", 0.0)
    endpoints.answered("gone", as_leader=False)
    assert endpoints.addresses == ("a",)
