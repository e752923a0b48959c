"""Following: watch, with and without a cursor, and the cursors themselves."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def written(ctl):
    for number in range(4):
        ctl("put", "a", f"k{number}", str(number))
    ctl("put", "b", "k", "1")


def _commits(ended):
    assert ended.code == 0, ended.err
    return [json.loads(line)["commit_ts"] for line in ended.out.splitlines()]


@pytest.mark.usefixtures("written")
def test_watch_shows_what_comes_after_a_point(ctl):
    assert _commits(ctl("watch", "a", "--after", "2", "-o", "json")) == [3, 4]
    assert _commits(ctl("watch", "--after", "0", "-o", "json")) == [1, 2, 3, 4, 5]
    assert _commits(ctl("watch", "a", "-o", "json")) == []
    assert _commits(ctl("watch", "a", "--after", "0", "--prefix", "k3", "-o", "json")) == [4]
    lines = ctl("watch", "a", "--after", "3").out.splitlines()
    assert [line.split()[3] for line in lines] == ["key=k3"]
    assert "payload" in ctl("watch", "a", "--after", "3", "--verbose").out


@pytest.mark.usefixtures("written")
def test_a_named_watch_goes_on_behind_what_it_has_shown(ctl):
    named = ("watch", "a", "--subscribe", "mailer", "-o", "json")
    assert _commits(ctl(*named, "--after", "0", "--limit", "3")) == [1, 2, 3]
    assert _commits(ctl(*named)) == [4]
    assert _commits(ctl(*named)) == []


@pytest.mark.usefixtures("written")
def test_cursors_are_listed_and_deleted(ctl):
    assert ctl("cursor", "list").out == "Namespace 'default' has no cursors.\n"
    ctl("watch", "a", "--subscribe", "mailer", "--after", "0")
    listed = [line.split() for line in ctl("cursor", "list").out.splitlines()]
    assert listed == [["NAME", "THROUGH", "AGENT", "PREFIX"], ["mailer", "4", "a"]]
    assert json.loads(ctl("cursor", "list", "-o", "json").out)[0]["position"] == 4
    assert ctl("cursor", "delete", "mailer").out == "deleted cursor mailer\n"
    assert json.loads(ctl("cursor", "list", "-o", "json").out) == []
