import pytest
from statehouse_cluster.addresses import AddressError, is_number, look_up, parse


@pytest.mark.parametrize(
    ("text", "address", "number"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051), True),
        ("[::1]:1", ("::1", 1), True),
        ("n1.cluster.local:65535", ("n1.cluster.local", 65535), False),
        ("[n1]:7", ("n1", 7), False),
    ],
)
def test_an_address_is_host_and_port(text, address, number):
    assert parse(text) == address
    assert is_number(parse(text)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "host:",
        ":1",
        "host:x",
        "host:-1",
        "host:0",
        "host:65536",
        "::1:5",
        "h:1 ",
        "h:²",
    ],
)
def test_what_is_no_address_is_refused_in_words(text):
    with pytest.raises(AddressError):
        parse(text)


def test_a_number_is_found_without_a_resolver_and_an_unusable_name_is_an_os_error():
    assert look_up(parse("127.0.0.1:5"))[0].sockaddr == ("127.0.0.1", 5)
    with pytest.raises(OSError, match="cannot be a host name"):
        look_up(parse("x" * 99 + ":1"))
