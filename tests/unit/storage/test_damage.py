"""A flipped byte in any file of the database is refused, or harmless; never other data.

Harmless is: every row reads as it was written; or, for the write-ahead log, an earlier state
that is whole, which the journal of consensus brings up to date.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from random import Random

import pytest
from statehouse_cluster.interfaces import Entry, Position

from statehouse.core.keys import Table
from statehouse.storage import manifest
from statehouse.storage.faults import StoreFailed, StoreRefused
from statehouse.storage.state_store import StateStore
from tests.helpers.chain import check_chain
from tests.oracle.writing import START_US, Writer, write

COMMITS = 40


def rows_of(store):
    return {table: dict(store._database.forward(table, b"", b"")) for table in Table}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with tables, a log behind them, and all its rows at each index."""
    path = tmp_path_factory.mktemp("whole")
    writer, known = Writer(), {}
    with closing(StateStore(path / "state", now_us=lambda: START_US)) as store:
        for index in range(1, COMMITS + 1):
            value = b'"%s"' % (b"%d" % index * 40)
            command = writer.submit(*[write(f"k{index}.{n}", value) for n in range(10)])
            store.apply([Entry(index, 1, store.group([command]))], Position(index, 1), b"m")
            known[index] = rows_of(store)
            if index == COMMITS // 2:
                for table in store._database._tables:
                    table.flush()
        # A sync would forbid to find an earlier state; here it is what is asked for.
        shutil.copytree(path / "state", path / "copy")
    return path / "copy", known


def files(path, pattern):
    return sorted((path / "db-1").glob(pattern), key=lambda file: -file.stat().st_size)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("pattern", ["*.sst", "*.log", "MANIFEST-*", "CURRENT", "OPTIONS-*"])
def test_a_flipped_byte_is_refused_or_harmless(whole, tmp_path, pattern, seed):
    random = Random(f"{pattern} {seed}")
    file = random.choice([file for file in files(whole[0], pattern) if file.stat().st_size])
    place = random.randrange(file.stat().st_size)
    flip_and_open(whole, tmp_path, file.name, place, 1 << random.randrange(8))


@pytest.mark.parametrize("bit", range(56))
def test_a_flip_where_the_last_record_of_the_manifest_begins_is_too(whole, tmp_path, bit):
    """There damage looks most like the torn end of a crash."""
    (file,) = files(whole[0], "MANIFEST-*")
    content = file.read_bytes()
    place = max(at for at in range(len(content)) if manifest._is_record(content, at))
    flip_and_open(whole, tmp_path, file.name, place + bit // 8, 1 << bit % 8)


def flip_and_open(whole, tmp_path, name, place, bits):
    source, known = whole
    path = tmp_path / "state"
    shutil.copytree(source, path)
    file = path / "db-1" / name
    content = bytearray(file.read_bytes())
    content[place] ^= bits
    file.write_bytes(content)
    pattern = "*.log" if name.endswith(".log") else name
    try:
        with closing(StateStore(path, now_us=lambda: START_US)) as store:
            index = store.position().index
            assert COMMITS // 2 <= index <= COMMITS
            assert index == COMMITS or pattern == "*.log"
            assert rows_of(store) == known[index]
            with store.view() as view:
                check_chain(view)
    except (StoreRefused, StoreFailed):
        pass


def test_a_log_cut_short_is_an_earlier_state(whole, tmp_path):
    source, known = whole
    for kept in (0.2, 0.5, 0.9):
        path = tmp_path / str(kept)
        shutil.copytree(source, path)
        log = files(path, "*.log")[0]
        content = log.read_bytes()
        log.write_bytes(content[: int(len(content) * kept)])
        with closing(StateStore(path, now_us=lambda: START_US)) as store:
            index = store.position().index
            assert COMMITS // 2 <= index < COMMITS
            assert rows_of(store) == known[index]
