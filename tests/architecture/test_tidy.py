"""The rules of tidy_rules.py hold everywhere, and each of them bites."""

import tomllib
from textwrap import dedent

import pytest

from tests.architecture import tidy_rules
from tests.architecture.tidy_rules import PRODUCT, ROOT, RULES, Source, sources

# Their snippets and patterns are bad on purpose.
SPECIMENS = ("tests/architecture/test_tidy.py", "tests/architecture/tidy_rules.py")
EVERYTHING = sources(*PRODUCT, "scripts", "examples", "tests")
THE_PRODUCT = [source for source in EVERYTHING if source.under(*PRODUCT)]


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds_everywhere(rule):
    broken = [
        f"{source.path}:{line}: {what}"
        for source in EVERYTHING
        if not source.under(*SPECIMENS)
        for line, what in RULES[rule](source)
    ]
    assert not broken, "\n" + "\n".join(broken)


def test_the_code_as_a_whole_is_short():
    assert tidy_rules.bars(THE_PRODUCT) == []


def test_nothing_in_the_product_is_dead():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entry_points = {target.partition(":")[0] for target in scripts.values()}
    assert tidy_rules.dead_modules(THE_PRODUCT, entry_points) == []


def test_no_two_test_modules_share_a_name():
    # pytest imports them by their last name alone.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_written_page_keeps_leftovers():
    pages = [
        path
        for pattern in ("*.md", "docs/**/*.md", "*/**/README.md")
        for path in ROOT.glob(pattern)
    ]
    broken = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in pages
        if not {".venv", "node_modules"} & set(path.parts)
        for line, what in tidy_rules.no_leftovers(Source(path.name, path.read_text("utf-8")))
    ]
    assert not broken, "\n" + "\n".join(broken)


def complaints(rule, path, snippet):
    return [what for _, what in RULES[rule](Source(path, dedent(snippet)))]


BAD = [
    ("length", "statehouse/a.py", "def f():\n" + "    x()\n" * 71, "72 lines"),
    ("length", "statehouse/a.py", "x = 1\n" * 601, "601 lines"),
    ("documented", "statehouse/a.py", "x = 1\n", "no docstring"),
    ("documented", "sdk/statehouse_sdk/a.py", '"""A."""\ndef f(): ...\n', "f is public"),
    (
        "documented",
        "sdk/statehouse_sdk/a.py",
        '"""A."""\nclass Statehouse:\n    """C."""\n    def m(self): ...\n',
        "m is public",
    ),
    ("annotated", "scripts/a.py", "def f(x) -> None: ...\n", "x has no annotation"),
    ("annotated", "scripts/a.py", "def f(*x) -> None: ...\n", "x has no annotation"),
    ("annotated", "scripts/a.py", "def f(): ...\n", "what it returns"),
    ("pure core", "statehouse/core/a.py", "import time\n", "does not import time"),
    ("pure core", "statehouse/core/a.py", "from os import path\n", "does not import os.path"),
    ("banned calls", "cluster/a.py", "import time\nnow = time.time()\n", "time.time"),
    ("banned calls", "cluster/a.py", "from time import time\n", "time.time"),
    ("banned calls", "sdk/a.py", "when = datetime.now(UTC)\n", "datetime.now"),
    ("banned calls", "sdk/a.py", "when = datetime.datetime.now(UTC)\n", "datetime.datetime.now"),
    ("banned calls", "cluster/a.py", "import random\nrandom.random()\n", "random.random"),
    ("banned calls", "cluster/a.py", "from random import choice\n", "random.choice"),
    ("banned calls", "sdk/a.py", "import os\nos.environ['A']\n", "os.environ"),
    ("banned calls", "statehouse/a.py", "import pickle\npickle.loads(b'')\n", "pickle.loads"),
    ("banned calls", "statehouse/a.py", "print('x')\n", "print"),
    ("banned calls", "statehouse/a.py", "eval('x')\n", "eval"),
    ("no assert", "statehouse/a.py", "assert x\n", "vanishes"),
    ("no assert", "scripts/a.py", "try: ...\nexcept: ...\n", "bare except"),
    ("struct stays in v1", "sdk/a.py", "from google.protobuf import struct_pb2\n", "doubles"),
    (
        "struct stays in v1",
        "sdk/a.py",
        "from google.protobuf.struct_pb2 import Struct\n",
        "doubles",
    ),
    ("excuses have reasons", "sdk/a.py", "x = 1  # type: ignore\n", "an excuse"),
    ("excuses have reasons", "sdk/a.py", "x = 1  # type: ignore[misc]\n", "an excuse"),
    ("excuses have reasons", "sdk/a.py", "x = 1  # noqa\n", "an excuse"),
    ("excuses have reasons", "sdk/a.py", "x = 1  # noqa: E501\n", "an excuse"),
    ("no leftovers", "tests/a.py", "# TODO later\n", "do it"),
    ("no leftovers", "tests/a.py", "PATH = '/home/someone/x'\n", "machine it was made on"),
    ("one word for each thing", "sdk/a.py", "# the revision\n", "commit_ts or version"),
    ("one word for each thing", "sdk/a.py", "last_revision = 1\n", "commit_ts or version"),
    ("one word for each thing", "sdk/a.py", "# its commit timestamp\n", "committed_at"),
    ("one word for each thing", "sdk/a.py", "tenant: str\n", "namespace"),
    ("units last", "cluster/a.py", "def f(timeout: float) -> None: ...\n", "timeout"),
    ("units last", "cluster/a.py", "retry_delay = 1\n", "retry_delay"),
    ("units last", "cluster/a.py", "class C:\n    poll_interval: float\n", "poll_interval"),
    ("units last", "cluster/a.py", "self.backoff = 1\n", "backoff"),
]


@pytest.mark.parametrize(("rule", "path", "snippet", "expected"), BAD)
def test_the_rule_bites(rule, path, snippet, expected):
    found = complaints(rule, path, snippet)
    assert any(expected in complaint for complaint in found), found


GOOD = [
    ("length", "statehouse/a.py", "def f():\n" + "    x()\n" * 69),
    ("length", "statehouse/a.py", 'def f():\n    """A."""\n' + "    x()\n" * 69),
    ("documented", "statehouse/__init__.py", ""),
    ("documented", "sdk/statehouse_sdk/a.py", '"""A."""\ndef _f(): ...\n'),
    (
        "documented",
        "sdk/statehouse_sdk/a.py",
        '"""A."""\nclass C:\n    """C."""\n    def m(self): ...\n',
    ),
    ("documented", "sdk/statehouse_sdk/cli/a.py", '"""A."""\ndef f(): ...\n'),
    ("annotated", "scripts/a.py", "def f(self, x: int, *y: int, **z: int) -> None: ...\n"),
    ("annotated", "tests/a.py", "def f(x): ...\n"),
    ("pure core", "statehouse/core/a.py", "import msgspec\nfrom statehouse.core import keys\n"),
    ("pure core", "statehouse/storage/a.py", "import time\n"),
    ("banned calls", "cluster/a.py", "import time\nnow = time.monotonic()\n"),
    ("banned calls", "cluster/a.py", "import random\nrng = random.Random(1)\nrng.random()\n"),
    ("banned calls", "statehouse/daemon.py", "import os\nos.environ['A']\n"),
    ("banned calls", "sdk/statehouse_sdk/cli/a.py", "print('x')\n"),
    ("banned calls", "scripts/a.py", "import time\ntime.time()\n"),
    ("no assert", "tests/a.py", "assert x\n"),
    (
        "struct stays in v1",
        "statehouse/rpc/v1_values.py",
        "from google.protobuf import struct_pb2\n",
    ),
    ("excuses have reasons", "sdk/a.py", "x = 1  # type: ignore[misc]  # stubs lack it\n"),
    ("excuses have reasons", "sdk/a.py", "x = 1  # noqa: E501  # a table\n"),
    ("excuses have reasons", "sdk/a.py", "x = 1  # noqa: E501 - a table\n"),
    ("no leftovers", "tests/a.py", "PATH = 'a/home/b'\n"),
    ("one word for each thing", "sdk/a.py", "# a provision of subtenants\n"),
    ("one word for each thing", "tests/a.py", "# the revision\n"),
    ("units last", "cluster/a.py", "def f(timeout_s: float, deadline: float) -> None: ...\n"),
    ("units last", "cluster/a.py", "event.wait(timeout=1)\n"),
    ("units last", "sdk/statehouse_sdk/client.py", "def f(timeout: float) -> None: ...\n"),
]


@pytest.mark.parametrize(("rule", "path", "snippet"), GOOD)
def test_the_rule_spares_what_is_right(rule, path, snippet):
    assert complaints(rule, path, snippet) == []


def test_long_code_misses_the_bars():
    long = Source("statehouse/a.py", ("def f():\n" + "    x()\n" * 30) * 12)
    assert len(tidy_rules.bars([long])) == 3


def test_a_module_nothing_imports_is_dead():
    files = [
        Source("statehouse/daemon.py", "from statehouse.core import keys\n"),
        Source("statehouse/core/keys.py", "LATE = ['codec:encode']\n"),
        Source("statehouse/core/codec.py", ""),
        Source("statehouse/core/old.py", ""),
        Source("sdk/statehouse_sdk/__init__.py", ""),
    ]
    assert tidy_rules.dead_modules(files, {"statehouse.daemon"}) == ["statehouse.core.old"]


def test_every_rule_is_shown_something_bad_and_something_good():
    assert {case[0] for case in BAD} == {case[0] for case in GOOD} == set(RULES)
