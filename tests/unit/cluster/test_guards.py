"""Each repair of a message, alone: numbers in, numbers out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster import guards
from statehouse_cluster.guards import Append, PreVote, VoteBox


class Terms:
    """A log that is only the terms of its entries, from `first_index` on."""

    def __init__(self, *terms, first_index=0):
        self.terms = terms
        self.first_index = first_index

    @property
    def last_index(self):
        return self.first_index + len(self.terms) - 1

    def term_at(self, index):
        return self.terms[index - self.first_index]


def entries(start, *terms):
    return [(b"x", index, term) for index, term in enumerate(terms, start)]


LOG = Terms(0, 1, 1, 2, 2)
"""Entries 0 to 4."""


@pytest.mark.parametrize(
    ("previous", "term", "sent", "expected"),
    [
        (4, 2, [], Append(4, 0)),
        (4, 2, entries(5, 3), Append(4, 0)),
        (2, 1, entries(3, 2, 2), Append(4, 2)),
        (2, 1, entries(3, 2), Append(3, 1)),
        (2, 1, [], Append(2, 0)),
        (2, 1, entries(3, 2, 2, 3), Append(4, 2)),
        (2, 1, entries(3, 2, 3, 3), Append(3, 1)),
        (2, 1, entries(3, 3), Append(2, 0)),
    ],
    ids=[
        "a heartbeat at the end",
        "a new entry",
        "all of it is here",
        "an old message that ends early",
        "an old heartbeat",
        "the last one is new",
        "a conflict in the middle",
        "a conflict at once",
    ],
)
def test_only_what_is_new_or_conflicts_is_kept(previous, term, sent, expected):
    assert guards.place_append(LOG, previous, term, sent) == expected


@pytest.mark.parametrize(
    ("previous", "term"), [(5, 2), (9, 3), (4, 3), (None, None)], ids=["gap", "far", "term", "none"]
)
def test_what_does_not_connect_is_not_verified(previous, term):
    assert guards.place_append(LOG, previous, term, []).verified is None


CUT = Terms(2, 2, 3, first_index=10)
"""Entries 10 to 12; what is at or below 10 is committed."""


@pytest.mark.parametrize(
    ("previous", "sent", "expected"),
    [
        (5, [], Append(5, 0)),
        (5, entries(6, 1, 1), Append(7, 2)),
        (5, entries(6, 1, 1, 1, 2, 2), Append(10, 5)),
        (5, entries(6, 1, 1, 1, 2, 2, 2), Append(11, 6)),
        (9, entries(10, 2, 2, 3, 4), Append(12, 3)),
        (9, entries(10, 2, 4), Append(10, 1)),
    ],
)
def test_what_lies_below_the_base_needs_no_comparison(previous, sent, expected):
    assert guards.place_append(CUT, previous, 1, sent) == expected


terms = st.lists(st.integers(1, 4), max_size=8).map(sorted)


@given(terms, terms, st.integers(0, 8), st.integers(0, 8))
def test_following_the_verdict_makes_the_log_the_leaders(ours, theirs, previous, count):
    """Raft's rule in its slow form: go on from a match, replace from the first conflict."""
    log, leader = Terms(0, *ours), Terms(0, *theirs)
    previous = min(previous, leader.last_index)
    sent = [
        (b"x", index, leader.term_at(index))
        for index in range(previous + 1, min(previous + count, leader.last_index) + 1)
    ]
    placed = guards.place_append(log, previous, leader.term_at(previous), sent)
    connects = previous <= log.last_index and log.term_at(previous) == leader.term_at(previous)
    assert (placed.verified is not None) == connects
    if not connects:
        return
    kept = sent[placed.keep_from :]
    assert placed.verified == previous + placed.keep_from
    for _, index, term in sent[: placed.keep_from]:
        assert log.term_at(index) == term
    if kept:
        _, index, term = kept[0]
        assert index > log.last_index or log.term_at(index) != term


def test_a_message_proves_a_commit_only_as_far_as_it_verified():
    assert guards.cap_commit(9, 4) == 4
    assert guards.cap_commit(3, 4) == 3


@pytest.mark.parametrize(
    ("next_index", "commit", "hint"),
    [(5, 0, 5), (4, 0, 3), (3, 0, 3), (2, 0, 1), (4, 3, 4), (9, 0, 9)],
    ids=["the end", "whole term", "its first", "earlier term", "committed stays", "past the end"],
)
def test_the_hint_skips_a_conflicting_term(next_index, commit, hint):
    assert guards.conflict_hint(LOG, next_index, commit) == hint


def test_the_hint_never_asks_for_the_base():
    assert guards.conflict_hint(Terms(3, 3, 3, first_index=7), 9, 0) == 8
    assert guards.conflict_hint(Terms(3, first_index=7), 8, 7) == 8


@pytest.mark.parametrize(
    ("hint", "match", "expected"),
    [(5, 3, 5), (2, 3, 4), (30, 3, 10), (0, 3, 4), (0, 0, 1)],
)
def test_a_reset_stays_between_what_matches_and_the_end(hint, match, expected):
    assert guards.clamp_reset(hint, match, 9) == expected


def test_an_acknowledgement_counts_in_its_own_term_only():
    assert guards.ack_counts(4, 4, leads=True, from_peer=True)
    assert not guards.ack_counts(3, 4, leads=True, from_peer=True)
    assert not guards.ack_counts(4, 4, leads=False, from_peer=True)
    assert not guards.ack_counts(4, 4, leads=True, from_peer=False)


def test_a_voter_counts_once_a_term():
    box = VoteBox()
    assert box.admit(2, 2, "b", is_member=True)
    assert not box.admit(2, 2, "b", is_member=True)
    assert box.admit(2, 2, "c", is_member=True)
    assert box.admit(3, 3, "b", is_member=True)


def test_a_vote_of_another_term_or_a_stranger_does_not_count():
    box = VoteBox()
    assert not box.admit(1, 2, "b", is_member=True)
    assert not box.admit(2, 2, "b", is_member=False)
    assert box.admit(2, 2, "b", is_member=True)


FIVE = frozenset("abcde")


def asked(term):
    poll = PreVote()
    assert poll.should_ask(term, now=0.0, retry_s=0.1)
    return poll


def test_a_campaign_needs_a_majority_of_the_members_with_oneself():
    poll = asked(7)
    poll.grant(7, "b")
    assert not poll.granted_by_majority(7, FIVE, "a")
    poll.grant(7, "c")
    assert poll.granted_by_majority(7, FIVE, "a")


def test_a_prevote_counts_once_and_only_for_the_term_that_was_asked():
    poll = asked(7)
    for term, voter in [(7, "b"), (7, "b"), (6, "c"), (8, "d"), (7, "a"), (7, "stranger")]:
        poll.grant(term, voter)
    assert not poll.granted_by_majority(7, FIVE, "a")


def test_a_new_term_forgets_the_old_answers():
    poll = asked(7)
    poll.grant(7, "b")
    poll.grant(7, "c")
    assert not poll.granted_by_majority(8, FIVE, "a")
    assert poll.should_ask(8, now=0.0, retry_s=0.1)
    assert not poll.granted_by_majority(8, FIVE, "a")


def test_one_who_is_alone_needs_nobody_and_one_who_is_no_member_gets_nothing():
    assert PreVote().granted_by_majority(1, frozenset("a"), "a")
    assert not PreVote().granted_by_majority(1, frozenset("b"), "a")
    assert not PreVote().granted_by_majority(1, frozenset(), "a")


def test_the_question_is_repeated_only_after_a_while():
    poll = asked(7)
    assert not poll.should_ask(7, now=0.05, retry_s=0.1)
    assert poll.should_ask(7, now=0.11, retry_s=0.1)
    poll.reset()
    assert poll.should_ask(7, now=0.11, retry_s=0.1)


def test_a_log_is_compared_by_term_then_by_length():
    assert guards.log_is_at_least((3, 1), (2, 9))
    assert guards.log_is_at_least((2, 9), (2, 9))
    assert not guards.log_is_at_least((2, 8), (2, 9))
