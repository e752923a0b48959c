"""Runs what the written pages show: their Python and their shell, in the order a reader meets them.

A page's Python shares one namespace. Shell blocks run under bash; of a `console` block the lines
after `$ ` run, and what is shown below each must be what it prints, `...` standing for anything.
`<!-- not run: reason -->` on the line above a block exempts it; `<!-- file: NAME -->` saves it for
the shell under that name. It knows no cluster.
"""

from __future__ import annotations

import doctest
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHELL_TIMEOUT_S = 60
SHELL = ("bash", "sh", "shell")
EXEMPT = re.compile(r"<!--\s*not run:\s*(?P<reason>\S.*?)\s*-->")
SAVED = re.compile(r"<!--\s*file:\s*(?P<name>[\w.-]+)\s*-->")
FENCE = re.compile(r"^(?P<indent>\s*)```(?P<language>[a-zA-Z0-9_+-]*)\s*$")


@dataclass(frozen=True)
class Snippet:
    """One fenced block; `line` is that of its first line of code, `not_run` why it is exempt.

    `file` is the name it is saved under; "": it is not.
    """

    page: str
    line: int
    language: str
    code: str
    not_run: str = ""
    file: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in ("python", "console", *SHELL)


def snippets(page: str, text: str) -> list[Snippet]:
    """Every fenced block of a page, in order; ValueError for a fence that is never closed."""
    found: list[Snippet] = []
    lines = text.splitlines()
    reason, file, number = "", "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if exempt := EXEMPT.search(line):
            reason = exempt["reason"]
        elif saved := SAVED.search(line):
            file = saved["name"]
        elif fence := FENCE.match(line):
            end = _closing(lines, number, page)
            code = [inner.removeprefix(fence["indent"]) for inner in lines[number:end]]
            joined = "\n".join(code) + "\n"
            found.append(Snippet(page, number + 1, fence["language"], joined, reason, file))
            reason, file, number = "", "", end + 1
        elif line.strip():
            reason = file = ""
    return found


def _closing(lines: list[str], start: int, page: str) -> int:
    for number in range(start, len(lines)):
        if lines[number].strip() == "```":
            return number
    raise ValueError(f"{page}:{start}: the fence is never closed")


class PageFailure(AssertionError):
    """A snippet that does not do what its page says."""


def run(
    page: list[Snippet],
    *,
    folder: Path,
    environment: Mapping[str, str],
    replacements: Mapping[str, str],
) -> int:
    """Runs a page's snippets and returns how many; PageFailure names the first that fails.

    Shell runs in `folder` with `environment`; Python runs here, with `__name__` as a script has.
    `replacements` puts what is there in place of what a reader would have.
    """
    namespace: dict[str, object] = {"__name__": "__main__"}
    ran = 0
    for snippet in page:
        if snippet.file:
            save([snippet], folder)
            continue
        if not snippet.runs or snippet.not_run:
            continue
        code = snippet.code
        for written, actual in replacements.items():
            code = code.replace(written, actual)
        if snippet.language == "python":
            _run_python(snippet, code, namespace)
        elif snippet.language == "console":
            _run_console(snippet, code, folder, environment)
        else:
            _run_shell(snippet, code, folder, environment)
        ran += 1
    return ran


def save(page: list[Snippet], folder: Path) -> None:
    """Saves the blocks that have a file's name."""
    for snippet in page:
        if snippet.file:
            (folder / snippet.file).write_text(snippet.code, "utf-8")


def _run_python(snippet: Snippet, code: str, namespace: dict[str, object]) -> None:
    # Blank lines in front make a traceback's line numbers those of the page.
    shifted = "\n" * (snippet.line - 1) + code
    try:
        exec(compile(shifted, snippet.page, "exec"), namespace)
    except Exception as error:
        raise PageFailure(f"{snippet.place}: {type(error).__name__}: {error}") from error


def _run_console(snippet: Snippet, code: str, folder: Path, environment: Mapping[str, str]) -> None:
    checker = doctest.OutputChecker()
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for session in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]:
        command, _, shown = session.partition("\n")
        printed = _run_shell(snippet, command, folder, environment)
        if shown.strip() and not checker.check_output(shown.strip(), printed.strip(), flags):
            raise PageFailure(f"{snippet.place}: {command}\nprints:\n{printed}\nnot:\n{shown}")


def _run_shell(snippet: Snippet, code: str, folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SHELL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise PageFailure(f"{snippet.place}: exit code {done.returncode}\n{code}\n{done.stdout}")
    return done.stdout
