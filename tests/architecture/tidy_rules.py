"""The rules of this code that no linter has: lengths, banned calls and words, units, leftovers.

Each rule is a function from one parsed file to its complaints. It knows files only as text, so that
test_tidy.py can show each rule a bad snippet and see it bite. Exceptions to a rule stand here, each
with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).resolve().parents[2]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
FUNCTION_LINES_MEDIAN_MAX = 8
FUNCTION_LINES_P90_MAX = 25
FILE_LINES_MEDIAN_MAX = 250

PUBLIC_NAMES = frozenset(Path(__file__).with_name("public_surface.txt").read_text().split())

PRODUCT = ("statehouse/", "cluster/", "proto/", "sdk/")
PROGRAMS = ("sdk/statehouse_sdk/cli/", "statehouse/daemon.py")


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the root, with forward slashes."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    def under(self, *prefixes: str) -> bool:
        return self.path.startswith(prefixes)


Complaint = tuple[int, str]
"""A line number and what is wrong there."""

Rule = Callable[[Source], Iterable[Complaint]]


def sources(*folders: str) -> list[Source]:
    """Every Python file below the folders, files without a suffix told by their first line."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return [
        Source(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts and _is_python(path)
    ]


def _is_python(path: Path) -> bool:
    if path.suffix:
        return path.suffix == ".py"
    with path.open("rb") as file:
        first_line = file.readline(100)
    return first_line.startswith(b"#!") and b"python" in first_line


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(source: Source) -> Iterator[Function]:
    for node in source.nodes:
        if isinstance(node, Function):
            yield node


def lines_of(function: Function) -> int:
    """Lines from `def` to the end, without decorators and docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    match function.body[0]:
        case ast.Expr(value=ast.Constant(value=str())) as docstring:
            lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


def length(source: Source) -> Iterator[Complaint]:
    lines = source.text.count("\n")
    if lines > FILE_LINES_MAX:
        yield 1, f"{lines} lines; a file has at most {FILE_LINES_MAX}"
    for function in functions(source):
        if lines_of(function) > FUNCTION_LINES_MAX:
            yield (
                function.lineno,
                f"{function.name}() has {lines_of(function)} lines; at most {FUNCTION_LINES_MAX}",
            )


def bars(files: list[Source]) -> list[str]:
    """What the code as a whole misses of the bars for medians."""
    by_function = [lines_of(function) for source in files for function in functions(source)]
    by_file = [source.text.count("\n") for source in files if source.text]
    found = {
        "median function": (median(by_function), FUNCTION_LINES_MEDIAN_MAX),
        "function at the 90th percentile": (
            quantiles(by_function, n=10)[-1],
            FUNCTION_LINES_P90_MAX,
        ),
        "median file": (median(by_file), FILE_LINES_MEDIAN_MAX),
    }
    return [
        f"{name}: {lines:g} lines, at most {lines_max}"
        for name, (lines, lines_max) in found.items()
        if lines > lines_max
    ]


def documented(source: Source) -> Iterator[Complaint]:
    # A test file is named after what it tests.
    told = not source.text.strip() or source.path.rpartition("/")[2].startswith("test_")
    if not told and ast.get_docstring(source.tree) is None:
        yield 1, "the module says in no docstring what it owns"
    if source.under("sdk/statehouse_sdk/") and not source.under("sdk/statehouse_sdk/cli/"):
        for node in _public(source.tree):
            if ast.get_docstring(node) is None:
                yield node.lineno, f"{node.name} is public in the SDK and has no docstring"


def _public(within: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Functions and classes of the SDK's modules, and the methods of the classes users hold."""
    for node in within.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef) and node.name in PUBLIC_NAMES:
                yield from _public(node)


def annotated(source: Source) -> Iterator[Complaint]:
    if source.under("tests/"):
        return
    for function in functions(source):
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        starred = [one for one in (arguments.vararg, arguments.kwarg) if one]
        for argument in [*named, *starred]:
            if argument.annotation is None and argument.arg not in ("self", "cls"):
                yield function.lineno, f"{function.name}(): {argument.arg} has no annotation"
        if function.returns is None:
            yield function.lineno, f"{function.name}() does not say what it returns"


# What the core may import: nothing that can tell two runs apart.
PURE_MODULES = {
    *(
        "__future__",
        "abc",
        "bisect",
        "collections",
        "dataclasses",
        "enum",
        "functools",
        "hashlib",
        "heapq",
    ),
    *("itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing"),
    *("unicodedata", "msgspec", "statehouse"),
}


def pure_core(source: Source) -> Iterator[Complaint]:
    if not source.under("statehouse/core/"):
        return
    for line, module in imports(source):
        if module.split(".")[0] not in PURE_MODULES:
            yield line, f"the core is pure and does not import {module}"


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and full name of every module or member that is imported."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


@dataclass(frozen=True)
class Ban:
    """A dotted name (a trailing dot: all below it) product code does not use, and where it may."""

    name: str
    because: str
    allowed_in: tuple[str, ...] = ()

    def hits(self, dotted: str) -> bool:
        return dotted.startswith(self.name) if self.name.endswith(".") else dotted == self.name


# Where settings are read, and where the wall clock that is handed to others comes from.
SETTINGS_EDGE = (
    "statehouse/daemon.py",
    "sdk/statehouse_sdk/async_client.py",
    "sdk/statehouse_sdk/client.py",
)
CLOCK_EDGE = ("statehouse/daemon.py", "statehouse/rpc/server.py")

BANS = (
    Ban("time.time", "what is stored or compared is whole microseconds: time.time_ns"),
    Ban("time.time_ns", "the wall clock is handed in, and decides nothing", CLOCK_EDGE),
    Ban("datetime.datetime.now", "as time.time_ns"),
    Ban("datetime.datetime.utcnow", "as time.time_ns"),
    Ban("datetime.datetime.today", "as time.time_ns"),
    Ban("datetime.now", "as time.time_ns"),
    Ban("datetime.utcnow", "as time.time_ns"),
    Ban("datetime.today", "as time.time_ns"),
    Ban("date.today", "as time.time_ns"),
    Ban("random.", "hand in a generator, so that a test can choose its seed"),
    Ban("os.environ", "settings are read at one edge", SETTINGS_EDGE),
    Ban("os.getenv", "as os.environ"),
    Ban("pickle.", "bytes from outside must not become code"),
    Ban("eval", "text must not become code"),
    Ban("exec", "text must not become code"),
    Ban("print", "a library is silent; the node logs", PROGRAMS),
    Ban("breakpoint", "left over"),
)

# Making a generator is how one is handed in.
GENERATORS = ("random.Random", "random.SystemRandom")


def banned_calls(source: Source) -> Iterator[Complaint]:
    if not source.under(*PRODUCT):
        return
    for line, dotted in _uses(source):
        for ban in BANS:
            if ban.hits(dotted) and dotted not in GENERATORS and not source.under(*ban.allowed_in):
                yield line, f"{dotted}: {ban.because}"


def _uses(source: Source) -> Iterator[tuple[int, str]]:
    """Every dotted name that is read, and every member imported by name from one of the banned."""
    inner = {id(node.value) for node in source.nodes if isinstance(node, ast.Attribute)}
    for node in source.nodes:
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            dotted = _dotted(node)
            if dotted:
                yield node.lineno, dotted
    for line, name in imports(source):
        if name.count(".") == 1 and name.split(".")[0] in ("time", "random", "os", "pickle"):
            yield line, name


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr) if before := _dotted(value):
            return f"{before}.{attr}"
    return ""


def no_assert(source: Source) -> Iterator[Complaint]:
    if source.under("tests/"):
        return
    for node in source.nodes:
        if isinstance(node, ast.Assert):
            yield node.lineno, "assert vanishes under -O: raise what a caller can understand"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except also catches the end of the program"


STRUCT_ALLOWED_IN = ("proto/statehouse_proto/", "statehouse/rpc/v1_")


def struct_stays_in_v1(source: Source) -> Iterator[Complaint]:
    if not source.under(*PRODUCT) or source.under(*STRUCT_ALLOWED_IN):
        return
    for line, name in imports(source):
        if "struct_pb2" in name:
            yield line, "Struct turns integers into doubles: only the v1 gateway translates it"


EXCUSED = re.compile(
    r"#\s*(type:\s*ignore|noqa)(?P<code>\[[\w, -]+\]|:\s*[A-Z]+\d+[\w, ]*)?(?P<rest>.*)"
)


def excuses_have_reasons(source: Source) -> Iterator[Complaint]:
    for number, line in enumerate(source.text.splitlines(), 1):
        excuse = EXCUSED.search(line)
        if excuse and not (excuse["code"] and re.match(r"\s*(#|-)\s*\S", excuse["rest"])):
            yield (
                number,
                "an excuse from a check names the check's code and, after # or -, the reason",
            )


LEFTOVERS = {
    re.compile(r"\b(TODO|FIXME|XXX|HACK|WIP)\b"): "do it, or leave it out",
    re.compile(r"(?<![\w.}])/(home|root|work|Users)/\w"): "a path of the machine it was made on",
}


def no_leftovers(source: Source) -> Iterator[Complaint]:
    for number, line in enumerate(source.text.splitlines(), 1):
        for pattern, what in LEFTOVERS.items():
            if found := pattern.search(line):
                yield number, f"{found[0]}: {what}"


SYNONYMS = {
    r"revisions?": "commit_ts or version",
    r"commit[ _]timestamps?": "commit_ts (its number) or committed_at (its time)",
    r"commit[ _]ids?": "commit_ts",
    r"tenants?": "namespace",
    r"idempotency[ _](key|token|id)s?": "op id",
    r"read[ _]index(es)?": "barrier",
    r"change[ _]?(set|log)s?": "event",
}


def one_word_for_each_thing(source: Source) -> Iterator[Complaint]:
    if not source.under(*PRODUCT):
        return
    for number, line in enumerate(source.text.splitlines(), 1):
        for synonym, word in SYNONYMS.items():
            if found := re.search(rf"(?<![a-zA-Z]){synonym}(?![a-zA-Z])", line, re.IGNORECASE):
                yield number, f"{found[0]}: here it is called {word}"


MEASURED = re.compile(
    r"(^|_)(timeout|interval|delay|backoff|duration|period|ttl|latency|elapsed)$", re.I
)

# The SDK's published parameter, in seconds, is called so on its classes and its command line.
TIMEOUT_ALLOWED_IN = ("sdk/statehouse_sdk/",)


def units_last(source: Source) -> Iterator[Complaint]:
    if source.under("tests/"):
        return
    for line, name in _named(source):
        published = name == "timeout" and source.under(*TIMEOUT_ALLOWED_IN)
        if MEASURED.search(name) and not published:
            yield line, f"{name} does not end in its unit (_s, _ms, _us)"


def _named(source: Source) -> Iterator[tuple[int, str]]:
    for node in source.nodes:
        match node:
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def dead_modules(files: list[Source], entry_points: set[str]) -> list[str]:
    """Modules that nothing imports, now or late by a `module:attribute` text or an entry point."""
    modules = {_module_name(source.path) for source in files if not source.path.endswith("__.py")}
    used = set(entry_points)
    for source in files:
        for _, name in imports(source):
            used |= {name, name.rpartition(".")[0]}
        package = _module_name(source.path).rpartition(".")[0]
        for node in source.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                module = node.value.partition(":")[0]
                used |= {module, f"{package}.{module}"}
    return sorted(modules - used)


def _module_name(path: str) -> str:
    inside = path if path.startswith("statehouse/") else path.partition("/")[2]
    return inside.removesuffix(".py").replace("/", ".")


RULES: dict[str, Rule] = {
    "length": length,
    "documented": documented,
    "annotated": annotated,
    "pure core": pure_core,
    "banned calls": banned_calls,
    "no assert": no_assert,
    "struct stays in v1": struct_stays_in_v1,
    "excuses have reasons": excuses_have_reasons,
    "no leftovers": no_leftovers,
    "one word for each thing": one_word_for_each_thing,
    "units last": units_last,
}
