from __future__ import annotations

import io
import json
import logging

import pytest

from statehouse import logs


@pytest.fixture(autouse=True)
def _restored():
    root, node = logging.getLogger(), logging.getLogger(logs.ROOT)
    before = root.handlers[:], root.level, node.handlers[:], node.level, node.propagate
    yield
    root.handlers[:], node.handlers[:] = before[0], before[2]
    root.setLevel(before[1])
    node.setLevel(before[3])
    node.propagate = before[4]


def logged(form: str, level: str = "info") -> tuple[logs.Log, io.StringIO]:
    stream = io.StringIO()
    logs.configure(level, form, stream)
    return logs.Log("test"), stream


def test_a_text_line_has_time_level_message_and_facts():
    log, stream = logged("text")
    log.info("Bound", address="127.0.0.1:1", count=2, words="two words", empty="")
    line = stream.getvalue()
    assert line.endswith('INFO    Bound address=127.0.0.1:1 count=2 words="two words" empty=""\n')
    assert line[10] == "T"


def test_a_fact_cannot_make_a_second_line():
    log, stream = logged("text")
    log.info("Refused", name="a\nFAKE line")
    assert stream.getvalue().count("\n") == 1


def test_a_json_line_is_one_object():
    log, stream = logged("json")
    log.warning("Refused", name='a\n"b"', count=1)
    (line,) = stream.getvalue().splitlines()
    told = json.loads(line)
    assert told["level"] == "warning"
    assert told["message"] == "Refused"
    assert told["name"] == 'a\n"b"'
    assert told["count"] == 1
    assert told["time"].endswith("Z")


@pytest.mark.parametrize("form", logs.FORMATS)
def test_a_cause_brings_its_traceback(form):
    log, stream = logged(form)
    try:
        raise ValueError("boom")
    except ValueError as error:
        log.error("Failed", cause=error)
    assert "ValueError: boom" in stream.getvalue()


def test_what_lies_below_the_level_is_not_written():
    log, stream = logged("text", "warning")
    log.info("hidden")
    log.debug("hidden")
    assert stream.getvalue() == ""
