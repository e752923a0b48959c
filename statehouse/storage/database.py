"""Owns one RocksDB: how it is opened, written as one batch, read, copied and closed.

Why these options. The journal of consensus is the truth; this database is rebuilt from it past its
own applied index. So writes are not synced one by one, and after a power cut the recovery mode
point_in_time keeps the longest undamaged beginning of the write-ahead log: an earlier state, whole.
All tables are flushed together (atomic_flush), so that no table is ahead of another even then.
Whether that state is too early, because the journal has been cut since, is asked by directory.py.
Paranoid checks and checksums stay on: a damaged file is an error and never other data.

rocksdict raises bare Exceptions; each becomes a StoreFailed (or, at open, a StoreRefused). Its
convenient iterators end silently on an error, so where one ends the raw one goes on, and is asked
for its status when it ends. Handles of tables must be dropped before the database is; `close` does.
"""

from __future__ import annotations

import errno
import os
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from rocksdict import (
    AccessType,
    BlockBasedIndexType,
    BlockBasedOptions,
    Cache,
    Checkpoint,
    DBCompactionStyle,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    WriteBatch,
)

from statehouse.core.keys import Table
from statehouse.storage.faults import REPLACE_MEMBER, StoreFailed, StoreRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rocksdict import RdictIter

    from statehouse.core.view import Delete, Put
    from statehouse.storage.rows import Row

_CACHE_BYTES = 48 * 1024 * 1024
_ROW_CACHE_BYTES = 16 * 1024 * 1024
_WRITE_BUFFERS_BYTES = 32 * 1024 * 1024
_TABLE_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_WAL_BYTES = 64 * 1024 * 1024
_BLOCK_BYTES = 8 * 1024
_BLOOM_BITS = 10
_METADATA_BLOCK_BYTES = 4 * 1024
_OPEN_FILES = 512
_MANIFEST_BYTES = 1024 * 1024  # manifest.py reads all of it at every open
_LOG_FILE_BYTES = 1024 * 1024
# An event may take megabytes, so few are read together, and after a large one just one.
_BATCH_ROWS = 6
_LARGE_ROW_BYTES = 16 * 1024
_FLUSHING = "rocksdb.num-immutable-mem-table"

# Walked, or asked only for rows that are there: a filter would be built and read for nothing.
_NEVER_MISSED = (
    *(Table.EVENTS, Table.AGENT_EVENTS, Table.TIMES, Table.RECEIPT_GROUPS),
    *(Table.FORKS, Table.RUNS, Table.CAUSES),
)


class Database:
    """An open database; closed when it has been released as often as it was opened and retained.

    Written by one thread; read by any. The interpreter's lock is held in every read and write.
    """

    def __init__(self, path: Path, *, create: bool = False, read_only: bool = False) -> None:
        """Opens, or makes, the database in `path`. Raises StoreRefused.

        read_only: nothing of it is changed on disk, not even what RocksDB would clear up.
        """
        self.path = path
        try:
            self._db = Rdict(
                str(path),
                _options(create),
                {table.name: _table_options(table) for table in Table},
                AccessType.read_only(False) if read_only else AccessType.read_write(),
            )
            self._tables = [self._db.get_column_family(t.name) for t in Table]
            self._handles = [self._db.get_column_family_handle(t.name) for t in Table]
        except Exception as error:
            raise StoreRefused(
                f"the database in {path} cannot be opened: {error}; {_opening_advice(path, error)}"
            ) from error
        self._users = 1
        self._users_lock = Lock()
        self._closed: Callable[[], None] | None = None
        self._told_failure: Callable[[StoreFailed], None] | None = None

    # -- Its life

    def retain(self) -> None:
        """Adds a user, who will release it."""
        with self._users_lock:
            if self._users == 0:
                raise StoreFailed(f"the database in {self.path} is closed")
            self._users += 1

    def release(self) -> None:
        """Ends one use; the last one closes. Iterators still held keep the files open."""
        with self._users_lock:
            self._users -= 1
            if self._users:
                return
        self._tables.clear()
        self._handles.clear()
        del self._db
        if self._closed is not None:
            self._closed()

    def when_closed(self, call: Callable[[], None]) -> None:
        """Has `call` called once after the last user released it."""
        self._closed = call

    def when_failed(self, call: Callable[[StoreFailed], None]) -> None:
        """Has `call` called with each failure, on the thread that met it, before it is raised."""
        self._told_failure = call

    # -- Writing

    def write(self, puts: Sequence[Put], deletes: Sequence[Delete]) -> None:
        """Writes all or nothing, visible at once, not synced."""
        batch = WriteBatch(raw_mode=True)
        put, delete, handles = batch.put, batch.delete, self._handles
        try:
            for table, key, value in puts:
                put(key, value, handles[table])
            for table, key in deletes:
                delete(key, handles[table])
            self._db.write(batch)
        except Exception as error:
            raise self._failed("write", error) from error

    def sync(self) -> None:
        """Everything written is on disk when it returns."""
        try:
            self._db.flush_wal(sync=True)
        except Exception as error:
            raise self._failed("sync", error) from error

    def begin_flush(self) -> None:
        """Has all tables written out in the background; `is_flushing` until it is done.

        Each is written by itself, so the log of all of them is synced before: whatever a power cut
        leaves of the tables, the log brings them to one moment.
        """
        self.sync()
        try:
            for table in self._tables:
                table.flush(wait=False)
        except Exception as error:
            raise self._failed("write", error) from error

    def is_flushing(self) -> bool:
        try:
            return any(table.property_value(_FLUSHING) != "0" for table in self._tables)
        except Exception as error:
            raise self._failed("read", error) from error

    def checkpoint(self, directory: Path) -> None:
        """A copy as of now in `directory`, which must not exist; mostly hard links, not synced."""
        try:
            Checkpoint(self._db).create_checkpoint(str(directory))
        except Exception as error:
            raise self._failed("copy", error) from error

    # -- Reading

    def get(self, table: Table, key: bytes) -> bytes | None:
        try:
            row: bytes | None = self._tables[table].get(key)
        except Exception as error:
            raise self._failed("read", error) from error
        return row

    def some(
        self, table: Table, keys: Iterable[bytes], backward: bool = False
    ) -> Iterator[bytes | None]:
        try:
            rows = self._tables[table].iter()
            step = rows.prev if backward else rows.next
            found = None
            for key in keys:
                if found is not None:
                    step()
                    found = rows.key()
                if found != key:
                    rows.seek(key)
                    found = rows.key()
                    if found is None:
                        rows.status()
                yield rows.value() if found == key else None
        except Exception as error:
            raise self._failed("read", error) from error

    def first(self, table: Table, key: bytes) -> Row | None:
        return self._found(table, key, backward=False)

    def last(self, table: Table, key: bytes) -> Row | None:
        return self._found(table, key, backward=True)

    def forward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        return self._walk(table, start, prefix, backward=False)

    def batches(self, table: Table, start: bytes, prefix: bytes) -> Iterator[list[Row]]:
        try:
            # These end on an error as if there were no more; the raw one goes on there, and tells.
            rest = self._tables[table].iter()
            rows: Any = self._tables[table].items(from_key=start)
            count = 1
            while batch := list(islice(rows, count)):
                if not batch[-1][0].startswith(prefix):
                    if batch := [row for row in batch if row[0].startswith(prefix)]:
                        yield batch
                    return
                start = batch[-1][0] + b"\0"
                count = 1 if len(batch[-1][1]) > _LARGE_ROW_BYTES else _BATCH_ROWS
                yield batch
                del batch
            rest.seek(start)
            for row in self._steps(rest, rest.next, prefix):
                yield [row]
        except Exception as error:
            raise self._failed("read", error) from error

    def backward(self, table: Table, start: bytes, prefix: bytes) -> Iterator[Row]:
        return self._walk(table, start, prefix, backward=True)

    def _found(self, table: Table, key: bytes, *, backward: bool) -> Row | None:
        try:
            rows = self._at(table, key, backward=backward)
            found = rows.key()
            if found is None:
                rows.status()
                return None
            return found, rows.value()
        except Exception as error:
            raise self._failed("read", error) from error

    def _walk(self, table: Table, start: bytes, prefix: bytes, *, backward: bool) -> Iterator[Row]:
        try:
            rows = self._at(table, start, backward=backward)
            yield from self._steps(rows, rows.prev if backward else rows.next, prefix)
        except Exception as error:
            raise self._failed("read", error) from error

    @staticmethod
    def _steps(rows: RdictIter, step: Callable[[], None], prefix: bytes) -> Iterator[Row]:
        while (key := rows.key()) is not None and key.startswith(prefix):
            yield key, rows.value()
            step()
        if key is None:
            rows.status()

    def _at(self, table: Table, key: bytes, *, backward: bool) -> RdictIter:
        rows = self._tables[table].iter()
        if backward:
            rows.seek_for_prev(key)
        else:
            rows.seek(key)
        return rows

    def _failed(self, what: str, error: Exception) -> StoreFailed:
        failure = StoreFailed(
            f"cannot {what} the database in {self.path}: {error}; this node stops. "
            f"{_failing_advice(error)}"
        )
        if self._told_failure is not None:
            self._told_failure(failure)
        return failure


def _opening_advice(path: Path, error: Exception) -> str:
    if _tells_full_disk(error):
        return "free space on its disk and start again"
    if _has_other_tables(path):
        return "its tables are those of another format: run the version that wrote it"
    return f"if its disk is sound and no other process uses it, {REPLACE_MEMBER}"


def _has_other_tables(path: Path) -> bool:
    try:
        names = set(Rdict.list_cf(str(path)))
    except Exception:
        return False  # it cannot be read at all
    return names - {"default"} != {table.name for table in Table}


def _failing_advice(error: Exception) -> str:
    if _tells_full_disk(error):
        return "Free space on its disk and start it again"
    return "Start it again if the disk is sound, else remove this member and add a new one"


def _tells_full_disk(error: Exception) -> bool:
    # rocksdict has no error numbers, but RocksDB says what the system said.
    return os.strerror(errno.ENOSPC) in str(error)


def _options(create: bool) -> Options:
    """Of the database as a whole; all that takes memory is bounded, whatever lies on the disk.

    Memory: one bound for the write buffers of all tables, and so for what a start reads again from
    the write-ahead log; one cache; so many files open. Two background jobs: one flush and one
    compaction, for a node shares its processors. What they write goes to the disk bit by bit: a
    node must not stall while the kernel writes out a gigabyte at once, nor wait for it in `sync`.
    """
    options = Options(raw_mode=True)
    options.create_if_missing(create)
    options.create_missing_column_families(create)
    options.set_error_if_exists(create)
    options.set_wal_recovery_mode(DBRecoveryMode.point_in_time())
    options.set_atomic_flush(True)
    options.set_paranoid_checks(True)
    options.set_db_write_buffer_size(_WRITE_BUFFERS_BYTES)
    options.set_max_total_wal_size(_WAL_BYTES)
    options.set_max_background_jobs(2)
    options.set_max_manifest_file_size(_MANIFEST_BYTES)
    options.set_max_open_files(_OPEN_FILES)
    options.set_bytes_per_sync(1024 * 1024)
    options.set_wal_bytes_per_sync(1024 * 1024)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(_LOG_FILE_BYTES)
    options.set_stats_dump_period_sec(0)
    options.set_stats_persist_period_sec(0)
    options.set_row_cache(_row_cache)
    return options


# One cache for all tables: what is read most stays, whichever table it is of.
# RocksDB cuts a cache of the usual kind into many parts, and what is larger than a part is read
# anew each time: the filter of a large file, which every get asks. This kind has few parts.
_cache = Cache.new_hyper_clock_cache(_CACHE_BYTES, 0)
# Reads of single rows are skewed, and a block holds thirty rows for the one that is read often.
_row_cache = Cache(_ROW_CACHE_BYTES)


def _table_options(table: Table) -> Options:
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(_block_options(table))
    options.set_write_buffer_size(_TABLE_WRITE_BUFFER_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_level_compaction_dynamic_level_bytes(True)
    if table is Table.TIMES:
        # Its rows come in order, so level by level its small files would only be moved, and stay.
        options.set_compaction_style(DBCompactionStyle.universal())
    return options


def _block_options(table: Table) -> BlockBasedOptions:
    """Indexes and filters in small blocks of the cache: what is kept open is not kept in memory.

    In one piece each would be megabytes, and drive the rows out of the cache whenever it is read.
    """
    blocks = BlockBasedOptions()
    blocks.set_block_cache(_cache)
    blocks.set_block_size(_BLOCK_BYTES)
    blocks.set_cache_index_and_filter_blocks(True)
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_index_type(BlockBasedIndexType.two_level_index_search())
    blocks.set_partition_filters(True)
    blocks.set_metadata_block_size(_METADATA_BLOCK_BYTES)
    blocks.set_pin_top_level_index_and_filter(True)
    if table not in _NEVER_MISSED:
        blocks.set_bloom_filter(_BLOOM_BITS, False)
    return blocks
