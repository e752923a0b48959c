"""Gives a node of a chaos run a wall clock that can be set from outside, and takes a guard out.

Python imports this file at the start of a process that has its folder on the path. The file named
by CHAOS_CLOCK holds how many nanoseconds the clock is wrong by; the monotonic clock stays as it is.
CHAOS_MUTANT names a guard the node has to do without, to prove that a run without it is red.

A preloaded libfaketime would go deeper, but it makes the waits inside gRPC spin: 600 commits a
second became 8, and what was tested was the tool.
"""

import mmap
import os
import struct
import sys
import time

_PATH = os.environ.get("CHAOS_CLOCK")

if _PATH:
    with open(_PATH, "rb") as _file:
        _shared = mmap.mmap(_file.fileno(), 8, prot=mmap.PROT_READ)
    _right_ns = time.time_ns
    _offset = struct.Struct("<q").unpack_from

    def _wrong_ns() -> int:
        return _right_ns() + int(_offset(_shared)[0])

    def _wrong_s() -> float:
        return _wrong_ns() / 1e9

    time.time_ns = _wrong_ns
    time.time = _wrong_s

_MUTANT = os.environ.get("CHAOS_MUTANT")

if _MUTANT:
    try:
        from tests.simulation.mutants import mutation

        # Never left, and kept from being collected: the guard is out as long as the node lives.
        _taken_out = mutation(_MUTANT)
        _taken_out.__enter__()
    except Exception as _error:
        # Python would tell it and go on, with a node that has all its guards.
        sys.exit(f"no node without the guard {_MUTANT!r}: {_error!r}")
