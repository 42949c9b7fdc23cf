"""Addresses: one strict reading, and the networks that are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import AddressRefused
from app.outbound.addresses import AddressPolicy
from app.outbound.urls import parse_address


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://Promi-DL.de", "https://promi-dl.de/"),
        ("https://promi-dl.de.:443/a", "https://promi-dl.de/a"),
        ("http://a.test:8080/x?y=1#z", "http://a.test:8080/x?y=1"),
        ("http://a.test/ä b%2Fc+d%", "http://a.test/%C3%A4%20b%2Fc+d%25"),
        ("http://a.test/100%_x", "http://a.test/100%25_x"),
        ("http://a.test/a\\b|c", "http://a.test/a%5Cb%7Cc"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
        ("http://[2A00::1]:81/", "http://[2a00::1]:81/"),
        ("http://sample_feed:80/", "http://sample_feed/"),
        ("http://a.test?x", "http://a.test/?x"),
    ],
)
def test_an_ordinary_address_is_read_and_its_target_encoded_once(url: str, read: str) -> None:
    assert str(parse_address(url)) == read


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for candidate in (text, f"http://{text}", f"http://a.test/{text}"):
        try:
            address = parse_address(candidate)
        except AddressRefused:
            continue
        assert str(parse_address(str(address))) == str(address), "reading it again changes nothing"


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2a00:1450:4001::1", "2606:4700:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    AddressPolicy().check(address)


def test_an_exception_is_for_the_address_that_is_connected_to_alone() -> None:
    policy = AddressPolicy([ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")])
    assert policy.refusal("10.1.2.3") is None
    assert policy.refusal("fd00::1") is None
    assert policy.refusal("10.2.0.1") == "private"
    assert policy.refusal("::ffff:10.1.2.3") is not None
    assert policy.refusal("nonsense") == "not an IP address"


@given(st.ip_addresses())
def test_nothing_that_python_knows_to_be_private_passes(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert AddressPolicy().refusal(str(address)) is not None
