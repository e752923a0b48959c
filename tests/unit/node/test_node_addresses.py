from __future__ import annotations

import pytest

from statehouse.addresses import Address, parse


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("localhost:1", "localhost", 1),
        ("[::1]:65535", "::1", 65535),
        ("node-1.example:7", "node-1.example", 7),
    ],
)
def test_an_address_is_read_and_written_the_same(text, host, port):
    assert parse(text) == Address(host, port)
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "host",
        ":50051",
        "host:",
        "host:port",
        "host:65536",
        "host:-1",
        "host:1.0",
        "host:\u0661",
        "::1:50051",
        "[host]:1",
        "a b:1",
        "a,b:1",
        "user@host:1",
        "hö:1",
        "\n:1",
        "h" * 254 + ":1",
        "host:0",
    ],
)
def test_what_is_no_address_is_refused_in_words(text):
    with pytest.raises(ValueError, match=r"port|host|brackets"):
        parse(text)


def test_port_zero_is_taken_only_where_the_kernel_may_choose():
    assert parse("127.0.0.1:0", port_zero=True).port == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "::1"])
def test_loopback_is_seen(host):
    assert Address(host, 1).is_loopback()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.org", "localhost.evil"])
def test_everything_else_reaches_further(host):
    assert not Address(host, 1).is_loopback()


def test_the_wildcard_is_seen():
    assert Address("0.0.0.0", 1).is_wildcard()
    assert Address("::", 1).is_wildcard()
    assert not Address("127.0.0.1", 1).is_wildcard()
