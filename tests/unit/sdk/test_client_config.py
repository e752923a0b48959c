"""Settings: argument before environment before default, and wrong ones named."""

from __future__ import annotations

import pytest
from statehouse_sdk import InvalidRequestError, Statehouse
from statehouse_sdk.config import ClientConfig, resolve

ENVIRONMENT = {
    "STATEHOUSE_URL": "one:1, two:2,",
    "STATEHOUSE_NAMESPACE": "theirs",
    "STATEHOUSE_TIMEOUT": "7.5",
}


def test_defaults():
    assert resolve(None, None, None, {}) == ClientConfig(
        endpoints=("localhost:50051",), namespace="default", timeout_s=30.0
    )


def test_the_environment_comes_before_the_defaults():
    assert resolve(None, None, None, ENVIRONMENT) == ClientConfig(
        endpoints=("one:1", "two:2"), namespace="theirs", timeout_s=7.5
    )


def test_arguments_come_before_the_environment():
    assert resolve("mine:3", "mine", 2, ENVIRONMENT) == ClientConfig(
        endpoints=("mine:3",), namespace="mine", timeout_s=2.0
    )


def test_empty_settings_count_as_unset():
    assert resolve("", "", None, {"STATEHOUSE_TIMEOUT": ""}) == resolve(None, None, None, {})


@pytest.mark.parametrize(
    ("given", "endpoint"),
    [
        ("host", "host:50051"),
        ("host:1", "host:1"),
        ("[::1]", "[::1]:50051"),
        ("[::1]:7", "[::1]:7"),
        (" host:1 ", "host:1"),
    ],
)
def test_ways_to_write_an_endpoint(given, endpoint):
    assert resolve(given, None, None, {}).endpoints == (endpoint,)


def test_a_list_of_endpoints_and_the_same_twice():
    assert resolve(["a:1", "b:1", "a:1"], None, None, {}).endpoints == ("a:1", "b:1")


@pytest.mark.parametrize("url", ["http://host:1", "host:0", "host:x", ":1", "::1", ",", "h:99999"])
def test_a_wrong_url_is_quoted_in_the_error(url):
    with pytest.raises(InvalidRequestError, match="url"):
        resolve(url, None, None, {})


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "soon"])
def test_a_wrong_timeout_is_named_with_its_source(timeout):
    with pytest.raises(InvalidRequestError, match=r"^timeout is"):
        resolve(None, None, timeout, {})
    with pytest.raises(InvalidRequestError, match=r"^STATEHOUSE_TIMEOUT is"):
        resolve(None, None, None, {"STATEHOUSE_TIMEOUT": str(timeout)})


def test_a_client_reads_the_environment_when_it_is_made(monkeypatch):
    monkeypatch.setenv("STATEHOUSE_URL", "elsewhere:5")
    monkeypatch.setenv("STATEHOUSE_NAMESPACE", "theirs")
    monkeypatch.setenv("STATEHOUSE_TIMEOUT", "3")
    with Statehouse() as client:
        assert repr(client) == "<Statehouse elsewhere:5 namespace='theirs'>"
        assert client.timeout == 3.0


@pytest.mark.parametrize("url", [5, [], [5], object(), {"one:1": 2}])
def test_what_is_no_address_is_refused_as_such(url):
    with pytest.raises(InvalidRequestError, match="url"):
        resolve(url, None, None, {})


def test_a_string_is_not_taken_for_its_letters():
    with Statehouse("localhost:1") as client, pytest.raises(InvalidRequestError, match="a list"):
        client.get_many("agent", "abc")
