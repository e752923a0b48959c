"""What is asked about history is judged before it is sent, in words that say what is possible."""

from __future__ import annotations

from datetime import datetime

import pytest
from statehouse_proto.v2 import state_pb2
from statehouse_sdk import Head, InvalidRequestError, TooLargeError, requests
from statehouse_sdk import requests_history as asking

NAIVE = datetime(2024, 1, 1)
BAD_POINTS = [NAIVE, -1, 1.5, True, b"label", "", "42", "2024-01-01T00:00:00Z", [1]]


def versions(**options):
    told = {"start_ts": None, "end_ts": None, "newest_first": False, "limit": None}
    return asking.versions("n", "a", "k", **(told | options), stale=False)


@pytest.mark.parametrize("at", BAD_POINTS, ids=repr)
def test_a_point_that_is_none_is_refused(at):
    for ask in (
        lambda: asking.resolve("n", "a", at),
        lambda: versions(end_ts=at),
        lambda: asking.blame("n", "a", at, "", fields=True, stale=False),
        lambda: asking.explain("n", "a", "k", at, None, 5, stale=False),
        lambda: asking.diff("n", "a", at, None, None, "", stale=False),
        lambda: asking.diff("n", "a", None, at, None, "", stale=False),
        lambda: requests.get("n", "a", "k", at, None, False),
    ):
        with pytest.raises(InvalidRequestError):
            ask()


def test_a_naive_datetime_is_told_how_to_become_a_moment():
    with pytest.raises(InvalidRequestError, match=r"datetime.now\(timezone.utc\)"):
        asking.resolve("n", "a", NAIVE)


def test_a_label_travels_as_one():
    assert asking.resolve("n", "a", "then").at.label == "then"
    assert requests.get("n", "a", "k", "then", None, False).at.label == "then"


def test_a_label_needs_its_agent():
    with pytest.raises(InvalidRequestError, match="agent_id="):
        asking.resolve("n", None, "then")


@pytest.mark.parametrize(
    "ask",
    [
        lambda: asking.labels("n", "", stale=False),
        lambda: asking.lineage("n", 5),
        lambda: asking.cursor("n", ""),
        lambda: asking.blame("n", "a", None, 5, fields=True, stale=False),
        lambda: asking.diff("n", "a", None, None, "", "", stale=False),
        lambda: asking.explain("n", "a", "k", 3, 2, 5, stale=False),
        lambda: asking.explain("n", "a", "k", None, 0, 5, stale=False),
        lambda: asking.explain("n", "a", "k", None, None, 0, stale=False),
        lambda: versions(limit=-1),
        lambda: asking.verify("n", "a", 4),
        lambda: asking.verify("n", "", -1),
        lambda: asking.checked_head("abc"),
        lambda: asking.checked_head(Head(3, b"short")),
        lambda: requests.watch("n", "a", "", "then", stale=False),
        lambda: requests.watch("n", "a", "", -1, stale=False),
        lambda: requests.watch("n", "a", "", True, stale=False),
        lambda: replay(run_id="r", caused_by=4),
        lambda: replay(run_id="r", follow=True),
        lambda: replay(caused_by=4, follow=True),
        lambda: replay(caused_by="4"),
        lambda: replay(run_id=5),
    ],
)
def test_what_cannot_be_asked_is_refused(ask):
    with pytest.raises(InvalidRequestError):
        ask()


def replay(**options):
    told = {"limit": None, "last": None, "follow": False, "stale": False}
    return requests.replay("n", "a", None, None, **(told | options))


def test_names_have_the_limits_of_all_names():
    with pytest.raises(TooLargeError):
        asking.diff("n", "a", None, None, "x" * 1025, "", stale=False)


def test_unknown_metadata_is_a_mistake_of_the_program():
    with pytest.raises(TypeError):
        requests.given_metadata({"who": "x"})
    assert requests.given_metadata({}) is None
    told = requests.given_metadata({"caused_by": 4})
    assert state_pb2.Metadata.FromString(told).caused_by == [4]


def test_the_whole_record_is_verified_whatever_the_namespace():
    request = asking.verify("n", "", 7)
    assert (request.namespace, request.agent_id, request.after) == ("", "", 7)
    request = asking.verify("n", "a", 0)
    assert (request.namespace, request.agent_id) == ("n", "a")


def test_a_watch_begins_behind_a_commit_ts():
    assert requests.watch("n", "a", "", 0, stale=False).start.commit_ts == 1
    assert requests.watch("n", "a", "p/", 7, stale=True).start.commit_ts == 8
    assert not requests.watch("n", "", "", None, stale=False).HasField("start")
