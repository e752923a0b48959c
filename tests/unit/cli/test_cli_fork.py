"""What if: fork, lineage, merge."""

from __future__ import annotations

import json

import pytest
from fake_client import FakeClient
from statehouse_sdk.absent import ABSENT
from statehouse_sdk.errors import MergeConflict, MergeConflictError
from statehouse_sdk.merge_models import Merge
from statehouse_sdk.merging import MergedKey

CONFLICT = MergeConflict("plan", {"n": 1}, {"n": 2}, ABSENT)
WRITTEN = (MergedKey("goal", "south", "source"), MergedKey("draft", ABSENT, "source"))


@pytest.fixture
def written(ctl):
    ctl("put", "a", "goal", '"north"')
    ctl("put", "a", "goal", '"south"')


@pytest.mark.usefixtures("written")
def test_a_fork_begins_as_its_parent_was(ctl):
    assert ctl("fork", "a", "b", "--at", "1").out == "b is a at commit_ts 1\n"
    assert json.loads(ctl("get", "b", "goal", "-o", "json").out)["value"] == "north"
    assert "agent=a" in ctl("history", "b", "goal").out
    made = json.loads(ctl("fork", "b", "c", "-o", "json").out)
    assert (made["parent_id"], made["agent_id"]) == ("b", "c")


@pytest.mark.usefixtures("written")
def test_a_fork_needs_a_new_name(ctl):
    ctl("fork", "a", "b")
    again = ctl("fork", "a", "b")
    assert (again.code, again.out) == (1, "")
    assert again.err.startswith("Error: agent 'b' was written to")


@pytest.mark.usefixtures("written")
def test_lineage_leads_to_the_first_and_names_the_forks(ctl):
    ctl("fork", "a", "b", "--at", "1")
    ctl("fork", "b", "c")
    assert ctl("lineage", "a").out == ("Agent a is no fork.\nForks of a: 1\n  • b at commit_ts 1\n")
    assert ctl("lineage", "c").out.splitlines() == [
        "c is b at commit_ts 3, forked by commit 4",
        "b is a at commit_ts 1, forked by commit 3",
        "Forks of c: 0",
    ]
    told = json.loads(ctl("lineage", "c", "-o", "json").out)
    assert [fork["parent_id"] for fork in told["ancestry"]] == ["b", "a"]


class Merging:
    """Stands for `Statehouse.merge`: what it was asked, and what it answers."""

    def __init__(self):
        self.asked = None
        self.conflicts = ()
        self.commit_ts = 7

    def __call__(self, source, target, *, choose, dry_run, **told):
        self.asked = (source, target, choose, told)
        if self.conflicts and not dry_run:
            raise MergeConflictError("nothing was merged", self.conflicts)
        commit_ts = None if dry_run else self.commit_ts
        written = () if commit_ts is None and not dry_run else WRITTEN
        return Merge(source, target, "a", 1, 3, 4, written, self.conflicts, commit_ts)


@pytest.fixture
def merging(monkeypatch):
    made = Merging()
    monkeypatch.setattr(FakeClient, "merge", made, raising=False)
    return made


def test_a_merge_tells_what_it_wrote(ctl, merging):
    ended = ctl("merge", "b", "a", "--reason", "it was right")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        '  goal  "south"  (source)',
        "  draft  deleted  (source)",
        "merged 2 keys of b into a, commit_ts 7; common base: a at commit_ts 1",
    ]
    told = {"actor": "statehousectl", "reason": "it was right"}
    assert merging.asked == ("b", "a", {}, told)


def test_choices_are_by_prefix(ctl, merging):
    ctl(
        "merge", "b", "a", "--choose", "target", "--choose", "plan/=source", "--choose", "a=b=union"
    )
    assert merging.asked[2] == {"": "target", "plan/": "source", "a=b": "union"}


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_conflicts_are_listed_and_the_exit_code_is_one(ctl, merging, dry_run):
    merging.conflicts = (CONFLICT,)
    ended = ctl("merge", "b", "a", *dry_run)
    assert ended.code == 1
    assert ended.out.splitlines()[-4:] == [
        "! plan",
        '    base: {"n":1}',
        '    source: {"n":2}',
        "    target: nothing",
    ]
    assert "--choose" in ended.err
    told = json.loads(ctl("merge", "b", "a", "-o", "json", *dry_run).out)
    assert told["commit_ts"] is None
    assert [conflict["key"] for conflict in told["conflicts"]] == ["plan"]


def test_a_dry_run_writes_nothing(ctl, merging):
    assert ctl("merge", "b", "a", "--dry-run").out.splitlines()[-1] == (
        "would write 2 keys; common base: a at commit_ts 1"
    )
    merging.commit_ts = None
    assert ctl("merge", "b", "a").out == "b has nothing new for a; common base: a at commit_ts 1\n"
