"""Owns the promise that the library beneath is the one that was audited, name by name.

The adapter touches private parts of pysyncobj. Another release may change what they mean without a
word, so any other version, any other content of the audited files, or a missing name refuses to
start. An upgrade is an audit of its own; its end is a change of this file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pysyncobj
from pysyncobj import SyncObj, version

VERSION: Final = "0.3.17"

FILES: Final = {
    "syncobj.py": "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4",
    "transport.py": "0c9d89f9c4781ec9772df8011d7975a1a4a1a5f541357e12eae85a813e92b50b",
    "journal.py": "9cf1eaf6acc704581a4cf7d3de330a404403913107adc91c929778b7e3f35edf",
    "node.py": "e4a3f027cd8291f558334bb9c977e952f6b6989e7e1fa1588d3005ef0b990e2c",
}
"""SHA-256 of each file that was read line by line."""

METHODS: Final = frozenset(
    {
        "_SyncObj__applyLogEntries",
        "_SyncObj__changeCluster",
        "_SyncObj__connectedToAnyone",
        "_SyncObj__doChangeCluster",
        "_SyncObj__generateRaftTimeout",
        "_SyncObj__getCurrentLogIndex",
        "_SyncObj__getCurrentLogTerm",
        "_SyncObj__getEntries",
        "_SyncObj__getPrevLogIndexTerm",
        "_SyncObj__loadDumpFile",
        "_SyncObj__onBecomeLeader",
        "_SyncObj__onMessageReceived",
        "_SyncObj__parseChangeClusterRequest",
        "_SyncObj__sendAppendEntries",
        "_SyncObj__sendNextNodeIdx",
        "_SyncObj__setCurrentTerm",
        "_SyncObj__setState",
        "_SyncObj__tryLogCompaction",
        "_SyncObj__updateClusterConfiguration",
        "_checkCommandsToApply",
        "_onTick",
    }
)
"""Overridden or called."""

FIELDS: Final = frozenset(
    {
        "_SyncObj__connectedNodes",
        "_SyncObj__lastResponseTime",
        "_SyncObj__needLoadDumpFile",
        "_SyncObj__newAppendEntriesTime",
        "_SyncObj__noopIDx",
        "_SyncObj__otherNodes",
        "_SyncObj__raftCommitIndex",
        "_SyncObj__raftCurrentTerm",
        "_SyncObj__raftElectionDeadline",
        "_SyncObj__raftLastApplied",
        "_SyncObj__raftLeader",
        "_SyncObj__raftLog",
        "_SyncObj__raftMatchIndex",
        "_SyncObj__raftNextIndex",
        "_SyncObj__raftState",
        "_SyncObj__readonlyNodes",
        "_poller",
    }
)
"""Read or set; they exist once the library's constructor has run."""


class PinViolation(Exception):
    """The library beneath is not the audited one; the text says what differs and what to do."""


def check() -> None:
    """Raises PinViolation unless the installed library is the audited one."""
    advice = f"install pysyncobj=={VERSION} exactly as it was released"
    if version.VERSION != VERSION:
        raise PinViolation(f"pysyncobj {version.VERSION} is installed; {advice}")
    folder = Path(pysyncobj.__file__).parent
    for name, expected in FILES.items():
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise PinViolation(f"{folder / name} is not the file that was audited; {advice}")
    missing = {name for name in METHODS if not callable(getattr(SyncObj, name, None))}
    missing |= FIELDS - set(SyncObj.__init__.__code__.co_names)
    if missing:
        raise PinViolation(f"pysyncobj has no {', '.join(sorted(missing))}; {advice}")
