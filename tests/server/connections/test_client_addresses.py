"""Which addresses count as one client's."""

import pytest

from server.connections.client_addresses import client_network


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "127.0.0.1", False),
    ],
)
def test_a_party_is_an_ipv4_address_or_a_64(one: str, other: str, *, same: bool) -> None:
    assert (client_network(one) == client_network(other)) is same
