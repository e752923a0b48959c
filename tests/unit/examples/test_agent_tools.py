"""The example agent's tools: bounded, confined to one folder, the same when done twice."""

from __future__ import annotations

import pytest
from tools import Toolbox, ToolError, evaluate


@pytest.fixture
def tools(tmp_path):
    folder = tmp_path / "repository"
    for path, text in {
        "top.py": "one\n",
        "src/a.py": "two\nthree\n",
        "src/deep/b.py": "four five\n",
        "docs/page.md": "words here\n",
        ".hidden/c.py": "not seen\n",
        "build/d.py": "not seen\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    (tmp_path / "secret.py").write_text("secret\n")
    (folder / "src" / "link.py").symlink_to(tmp_path / "secret.py")
    return Toolbox(folder, tmp_path / "reports")


def test_files_are_listed_by_top_level_folder_without_hidden_and_linked_ones(tools):
    assert tools.run("list_files", {"suffix": ".py"}) == {"folders": {".": 1, "src": 2}, "files": 3}


@pytest.mark.parametrize(("what", "count"), [("lines", 3), ("words", 4), ("four", 1)])
def test_lines_words_and_occurrences_are_counted(tools, what, count):
    arguments = {"folders": ["src"], "suffix": ".py", "what": what}
    assert tools.run("count", arguments) == {"files": 2, "count": count}


def test_a_file_is_read_up_to_a_number_of_lines(tools):
    told = tools.run("read_file", {"path": "src/a.py", "lines": 1})
    assert told == {"path": "src/a.py", "lines": ["two"], "more": True}


@pytest.mark.parametrize("path", ["../secret.py", "/etc/passwd", "src/link.py"])
def test_nothing_outside_the_folder_is_read(tools, path):
    assert "is not inside" in tools.run("read_file", {"path": path})["error"]


def test_what_goes_wrong_is_a_result(tools):
    assert "there is no tool" in tools.run("launch", {})["error"]
    assert "error" in tools.run("count", {"nonsense": 1})
    assert "error" in tools.run("read_file", {"path": "nowhere"})


def test_a_report_is_written_again_without_difference_and_only_into_its_folder(tools, tmp_path):
    for _ in range(2):
        told = tools.run("write_report", {"name": "r.md", "text": "all is well"})
    assert told["bytes"] == 11
    assert [path.name for path in (tmp_path / "reports").iterdir()] == ["r.md"]
    assert "error" in tools.run("write_report", {"name": "../r.md", "text": ""})


@pytest.mark.parametrize(
    ("expression", "value"),
    [("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("-7 // 2", -4), ("2 ** 10", 1024), ("7 / 2", 3.5)],
)
def test_arithmetic_is_calculated(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').remove('x')",
        "(lambda: 1)()",
        "[1][0]",
        "'a' * 9",
        "True + 1",
        "1 +",
        "1 / 0",
        "9 ** 9 ** 9",
        "1e308 * 10",
        "(-1) ** 0.5",
        "1" * 1001,
        "(" * 500 + ")" * 500,
    ],
)
def test_anything_else_is_refused(expression):
    with pytest.raises(ToolError):
        evaluate(expression)
