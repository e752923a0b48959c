"""A read is served when a majority has answered a message sent after it arrived."""

from hypothesis import given
from hypothesis import strategies as st
from statehouse_cluster.reads import ReadIndex

OTHERS = ["b", "c", "d", "e"]


def waiting(commit_index=5, tickets=("r1",)):
    reads = ReadIndex(3)
    reads.arrive(list(tickets))
    assert reads.start_round(commit_index)
    return reads


def test_one_who_is_alone_needs_nobody():
    assert waiting().served([], 5) == ["r1"]


def test_a_majority_with_oneself_must_have_answered():
    reads = waiting()
    assert reads.served(OTHERS, 5) == []
    reads.echo("b", 1)
    assert reads.served(OTHERS, 5) == []
    reads.echo("b", 1)
    assert reads.served(OTHERS, 5) == []
    reads.echo("c", 1)
    assert reads.served(OTHERS, 5) == ["r1"]
    assert len(reads) == 0


def test_answers_to_earlier_messages_do_not_count():
    reads = waiting()
    reads.echo("b", 0)
    reads.echo("c", 0)
    assert reads.served(OTHERS, 5) == []


def test_a_later_answer_proves_the_earlier_round_too_and_an_old_one_takes_nothing_back():
    reads = waiting()
    reads.echo("b", 4)
    reads.echo("b", 0)
    reads.echo("c", 2)
    assert reads.served(OTHERS, 5) == ["r1"]


def test_only_voters_count():
    reads = waiting()
    for name in ("x", "y", "z"):
        reads.echo(name, 1)
    assert reads.served(OTHERS, 5) == []


def test_what_was_committed_when_the_read_began_must_be_applied():
    reads = waiting(commit_index=9)
    assert reads.served([], 8) == []
    assert reads.served([], 9) == ["r1"]


def test_a_read_that_arrives_later_waits_for_a_later_round():
    reads = waiting()
    for name in OTHERS:
        reads.echo(name, 1)
    reads.arrive(["r2"])
    assert reads.served(OTHERS, 9) == ["r1"]
    assert reads.start_round(9)
    assert reads.served(OTHERS, 9) == []
    reads.echo("d", 2)
    reads.echo("e", 2)
    assert reads.served(OTHERS, 9) == ["r2"]


def test_a_round_begins_only_for_somebody():
    reads = ReadIndex(3)
    assert not reads.start_round(5)
    assert reads.round == 0


def test_all_that_wait_are_let_go_at_the_end():
    reads = waiting(tickets=("r1", "r2"))
    reads.arrive(["r3"])
    assert len(reads) == 3
    assert reads.drain() == ["r1", "r2", "r3"]
    assert len(reads) == 0


@given(
    st.lists(
        st.one_of(
            st.just("arrive"),
            st.just("round"),
            st.tuples(st.sampled_from(OTHERS), st.integers(0, 6)),
        ),
        max_size=40,
    )
)
def test_no_read_is_served_before_two_voters_answered_a_round_begun_after_it(steps):
    reads = ReadIndex(1)
    asked_in, served, answered = {}, [], dict.fromkeys(OTHERS, 0)
    for number, step in enumerate(steps):
        if step == "arrive":
            reads.arrive([number])
            asked_in[number] = reads.round
        elif step == "round":
            reads.start_round(0)
        elif step[1] <= reads.round:
            # Nobody can echo a round that was not begun.
            reads.echo(*step)
            answered[step[0]] = max(answered[step[0]], step[1])
        for ticket in reads.served(OTHERS, 0):
            assert sum(seen > asked_in[ticket] for seen in answered.values()) >= 2
            served.append(ticket)
    assert sorted(served + reads.drain()) == sorted(asked_in)
