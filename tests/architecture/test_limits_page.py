"""The limits page says what the code says, and the code tells each limit's unit."""

import pytest

from scripts import generate_docs


def test_the_limits_page_is_what_the_limits_file_gives():
    page = (generate_docs.ROOT / "docs" / "limits.md").read_text("utf-8")
    assert page == generate_docs.limits_page(generate_docs.LIMITS.read_text("utf-8")), (
        "run scripts/generate_docs.py and commit docs/limits.md"
    )


def test_each_limit_becomes_a_row_with_its_figure_in_a_larger_unit():
    source = 'NAME_BYTES_MAX: Final = 2 * 1024\n"""Bytes of\n    a name."""\n'
    assert "| `name_bytes_max` | 2,048 (2 KiB) | Bytes of a name. |" in generate_docs.limits_page(
        source
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WINDOW_US", 3_600_000_000, "3,600,000,000 (1 h)"),
        ("WINDOW_US", 1_500, "1,500"),
        ("VALUE_BYTES_MAX", 1024 * 1024, "1,048,576 (1 MiB)"),
        ("VALUE_BYTES_MAX", 1023, "1,023"),
        ("KEYS_MAX", 1024, "1,024"),
    ],
)
def test_figures_are_read_in_the_largest_unit_that_is_exact(name, value, words):
    assert generate_docs.in_words(name, value) == words


def test_a_limit_without_a_docstring_is_refused():
    with pytest.raises(SystemExit, match="KEYS_MAX needs a docstring"):
        generate_docs.limits_page("KEYS_MAX: Final = 1\n")


def test_a_limit_that_is_not_a_figure_is_refused():
    with pytest.raises(SystemExit, match="no product"):
        generate_docs.limits_page('KEYS_MAX: Final = read_it()\n"""Keys."""\n')
