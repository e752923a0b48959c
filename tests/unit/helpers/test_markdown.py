"""The runner of the pages' snippets runs what a reader would run, and fails when it fails."""

import os
from textwrap import dedent

import pytest

from tests.helpers import markdown


def page(text: str) -> list[markdown.Snippet]:
    return markdown.snippets("page.md", dedent(text))


def run(text, tmp_path, **replacements):
    return markdown.run(
        page(text), folder=tmp_path, environment=os.environ, replacements=replacements
    )


def test_blocks_are_found_with_their_language_and_line():
    found = page(
        """\
        # Title

        ```python
        x = 1
        ```
        - in a list:
          ```bash
          true
          ```
        """
    )
    assert [(one.language, one.line, one.code) for one in found] == [
        ("python", 4, "x = 1\n"),
        ("bash", 8, "true\n"),
    ]


def test_an_exemption_holds_for_the_next_block_only():
    found = page(
        """\
        <!-- not run: needs three machines -->

        ```bash
        false
        ```

        ```bash
        true
        ```
        <!-- not run: of the text below -->
        Some text.
        ```bash
        true
        ```
        """
    )
    assert [one.not_run for one in found] == ["needs three machines", "", ""]


def test_a_fence_that_is_never_closed_is_an_error():
    with pytest.raises(ValueError, match=r"page\.md:1: the fence is never closed"):
        page("```python\nx = 1\n")


def test_python_shares_a_namespace_and_other_languages_are_left_alone(tmp_path):
    text = "```python\nx = 1\n```\n```toml\nx\n```\n```python\nassert x == 1\n```\n"
    assert run(text, tmp_path) == 2


def test_python_that_raises_fails_with_its_place(tmp_path):
    with pytest.raises(markdown.PageFailure, match=r"page.md:2: ZeroDivisionError"):
        run("```python\n1 / 0\n```\n", tmp_path)


def test_shell_that_fails_in_any_line_fails_with_its_output(tmp_path):
    with pytest.raises(markdown.PageFailure, match=r"(?s)page.md:2: exit code 1.*was here"):
        run("```bash\necho was here\nfalse\ntrue\n```\n", tmp_path)


def test_exempt_blocks_do_not_run(tmp_path):
    assert run("<!-- not run: breaks -->\n```bash\nfalse\n```\n", tmp_path) == 0


def test_a_console_block_must_print_what_it_shows(tmp_path):
    good = "```console\n$ echo a 1234 b\na ... b\n$ true\n$ echo unseen\n```\n"
    assert run(good, tmp_path) == 1
    with pytest.raises(markdown.PageFailure, match=r"(?s)prints:\na\n.*not:\nb"):
        run("```console\n$ echo a\nb\n```\n", tmp_path)


def test_what_a_reader_has_is_replaced_by_what_is_there(tmp_path):
    run("```bash\ntest here = here\n```\n```python\nassert 'here' == 'here'\n```\n", tmp_path)
    text = "```bash\ntest host:1 = there\n```\n```python\nassert 'host:1' == 'there'\n```\n"
    assert run(text, tmp_path, **{"host:1": "there"}) == 2


def test_a_block_with_a_name_is_saved_and_run_only_by_the_shell(tmp_path):
    text = """\
        Save it:
        <!-- file: greet.py -->

        ```python
        raise SystemExit("hello")
        ```
        ```console
        $ python3 greet.py || echo "exit code $?"
        hello
        exit code 1
        ```
        """
    assert run(dedent(text), tmp_path) == 1
    assert [one.file for one in page(text)] == ["greet.py", ""]
