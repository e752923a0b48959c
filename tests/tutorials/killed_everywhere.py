"""Runs a script again and again, each time killed a line later, and each time once more to its end.

`killed_everywhere.py SCRIPT NAMESPACE`: the N-th time it runs in namespace NAMESPACE-N, and is
killed by SIGKILL when it is about to execute its N-th line. Lines by which the SDK hands a call to
its stream and waits for the answer count too: there the request may have arrived, and nobody here
knows. It ends when the script ends unkilled, and prints how many times it was killed.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

# Imported once, before the first fork; each run makes its own client.
import statehouse_sdk.client
import statehouse_sdk.exchange

if TYPE_CHECKING:
    from types import FrameType


def main(script: str, namespace: str) -> None:
    for number in count(1):
        os.environ["STATEHOUSE_NAMESPACE"] = f"{namespace}-{number}"
        ended = _in_a_child(script, number)
        if ended != -signal.SIGKILL:
            break
        ended = _in_a_child(script, 0)
        if ended:
            break
    if ended:
        sys.exit(f"line {number}: it ended with {ended}")
    print(number - 1)


def _in_a_child(script: str, lines: int) -> int:
    """The exit code of the script, or minus the signal that ended it; `lines` 0: not killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.argv = [script]
    if lines:
        _kill_at(lines, script)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    runpy.run_path(script, run_name="__main__")
    sys.settrace(None)
    sys.exit()


def _kill_at(lines: int, script: str) -> None:
    left = lines
    asking = statehouse_sdk.exchange.Exchange.ask.__code__

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        return at_line if code is asking or code.co_filename == script else None

    def at_line(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        return at_line

    sys.settrace(enter)


if __name__ == "__main__":
    main(*sys.argv[1:])
