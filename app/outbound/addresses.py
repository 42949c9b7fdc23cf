"""Which IP addresses may be connected to: only those that are public, and the operator's exceptions.

Decided by lists of our own rather than by `ipaddress.is_global`, whose answer differs between Python versions. For IPv6
the rule is turned round: outside of 2000::/3 nothing is public, which covers loopback, mapped (::ffff:0:0/96), NAT64,
unique local, link-local, site-local and multicast; inside it, what embeds or stands for another address is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from app.errors import AddressRefused

Network = IPv4Network | IPv6Network

REFUSED_V4 = tuple(
    (IPv4Network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this host"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.0.0/16", "link-local, cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved, cloud metadata"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved, broadcast"),
    )
)
PUBLIC_V6 = IPv6Network("2000::/3")
REFUSED_V6 = tuple(
    (IPv6Network(network), why)
    for network, why in (
        ("2001::/23", "reserved, Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "documentation"),
    )
)
ISATAP_MARKS = (0x00005EFE, 0x02005EFE)
"""The third quarter of an IPv6 address whose last quarter is an embedded IPv4 address."""


class AddressPolicy:
    """Says whether an address may be connected to; `allowed` (ALLOW_PRIVATE_ADDRESSES) goes before the refusals."""

    def __init__(self, allowed: Sequence[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def refusal(self, address: str) -> str | None:
        """Why `address` (as the socket gets it, a zone included) is refused, or None when it may be connected to."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return "not an IP address"
        if any(parsed in network for network in self._allowed if network.version == parsed.version):
            return None
        return _refusal_v4(parsed) if isinstance(parsed, IPv4Address) else _refusal_v6(parsed)

    def check(self, address: str) -> None:
        """Refuse what may not be connected to.

        Raises:
            AddressRefused: names the kind of network, never the name that led there.
        """
        why = self.refusal(address)
        if why is not None:
            raise AddressRefused(f"{address} is not a public address ({why})", private=(address,))


def _refusal_v4(address: IPv4Address) -> str | None:
    return next((why for network, why in REFUSED_V4 if address in network), None)


def _refusal_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "an interface of this machine"
    if address not in PUBLIC_V6:
        return "IPv6 outside of the public range"
    if (int(address) >> 32) & 0xFFFFFFFF in ISATAP_MARKS:
        return "ISATAP"
    return next((why for network, why in REFUSED_V6 if address in network), None)
