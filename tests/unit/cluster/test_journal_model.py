"""The journal against a list: whatever is asked for in whatever order, both hold the same."""

from __future__ import annotations

from pathlib import Path
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from statehouse_cluster.journal import Journal, LogEntry

from tests.simulation.files import SimulatedFiles

PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda size, end: bytes(size) + end, st.integers(0, 2000), st.binary(max_size=3)),
)


class JournalAndList(RuleBasedStateMachine):
    @initialize(segment_bytes=st.integers(1, 3000), cache_bytes=st.integers(0, 3000))
    def start(self, segment_bytes: int, cache_bytes: int) -> None:
        self.files = SimulatedFiles(Path("/disk"))
        self.options = {"segment_bytes": segment_bytes, "cache_bytes": cache_bytes}
        self.log = [LogEntry(b"\x01", 0, 0)]
        self.flushed = 1
        """How many of `log` are on the disk."""
        self.vote: tuple[int, str | None] = (0, None)
        self.open()

    def open(self) -> None:
        self.journal = Journal.open(
            Path("/disk/journal"), self.files, **self.options, report=lambda line: None
        )

    def index_of(self, share: float) -> int:
        return self.log[0].index + round(share * (len(self.log) - 1))

    @rule(payloads=st.lists(PAYLOADS, min_size=1, max_size=8), step=st.integers(0, 2))
    def append(self, payloads: list[bytes], step: int) -> None:
        term = self.log[-1].term + step
        for payload in payloads:
            entry = LogEntry(payload, self.log[-1].index + 1, term)
            self.log.append(entry)
            self.journal.append(*entry)

    @rule()
    def flush(self) -> None:
        self.journal.flush()
        self.flushed = len(self.log)

    @precondition(lambda self: len(self.log) > 1)
    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        index = max(self.index_of(share), self.log[0].index + 1)
        self.journal.truncate_from(index)
        del self.log[index - self.log[0].index :]
        self.flushed = min(self.flushed, len(self.log))

    @rule(share=st.floats(0, 1))
    def cut(self, share: float) -> None:
        index = self.index_of(share)
        self.journal.cut_to(index)
        assert self.log[0].index <= self.journal.first_index <= index
        dropped = self.journal.first_index - self.log[0].index
        del self.log[:dropped]
        self.flushed -= dropped

    @rule(index=st.integers(0, 10_000), term=st.integers(0, 50))
    def reset(self, index: int, term: int) -> None:
        self.journal.reset(index, term)
        self.log = [LogEntry(b"\x01", index, term)]
        self.flushed = 1

    @rule(step=st.integers(1, 3), name=st.one_of(st.none(), st.text(max_size=5)))
    def set_term_and_vote(self, step: int, name: str | None) -> None:
        self.vote = (self.vote[0] + step, name)
        self.journal.set_term_and_vote(*self.vote)

    @rule()
    def reopen(self) -> None:
        self.journal.close()
        del self.log[self.flushed :]
        self.open()

    @rule(seed=st.integers(0, 1 << 32))
    def crash(self, seed: int) -> None:
        self.files.crash(Random(seed))
        del self.log[self.flushed :]
        self.open()

    @rule(share=st.floats(0, 1))
    def read_one(self, share: float) -> None:
        index = self.index_of(share)
        assert self.journal.entry(index) == self.log[index - self.log[0].index]

    @rule(left=st.floats(0, 1), right=st.floats(0, 1))
    def read_range(self, left: float, right: float) -> None:
        start, stop = sorted((self.index_of(left), self.index_of(right)))
        base = self.log[0].index
        assert list(self.journal.view(start, stop + 1)) == self.log[start - base : stop + 1 - base]

    @invariant()
    def the_same(self) -> None:
        if not hasattr(self, "journal"):
            return
        assert self.journal.first_index == self.log[0].index
        assert self.journal.last_index == self.log[-1].index
        assert self.journal.dirty == (self.flushed < len(self.log))
        assert (self.journal.term, self.journal.vote) == self.vote
        terms = [self.journal.term_at(entry.index) for entry in self.log]
        assert terms == [entry.term for entry in self.log]
        assert self.files.open_handles <= 1


TestJournalAndList = JournalAndList.TestCase
TestJournalAndList.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
