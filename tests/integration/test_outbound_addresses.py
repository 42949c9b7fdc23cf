"""Server-side request forgery: nothing that is refused is ever connected to, seen from the far side.

Two listeners stand on one port: `forbidden` on 127.0.0.1 and ::1, and `allowed` on 127.0.0.2, the only exception.
"""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio

from app.errors import AddressRefused, OriginRefused
from app.outbound import FetchLimits, OutboundClient
from app.outbound.addresses import AddressPolicy
from app.outbound.resolver import socket_factory
from tests.support.raw_http import KEEP, RawServer, answer, serve

LIMITS = FetchLimits(max_bytes=1_000, connect_timeout_s=2, first_byte_timeout_s=2, total_timeout_s=3)
ALLOWED = (ipaddress.ip_network("127.0.0.2/32"),)


@dataclass
class Sides:
    forbidden: list[RawServer]
    allowed: RawServer
    redirect_to: str = ""

    @property
    def port(self) -> int:
        return self.allowed.port

    def reached(self) -> int:
        return sum(server.connections for server in self.forbidden)


@pytest_asyncio.fixture
async def sides() -> AsyncIterator[Sides]:
    def redirect(_: str) -> list[bytes | float | None]:
        return [answer(status=302, Location=state.redirect_to), KEEP]

    async with serve(redirect, "127.0.0.2", _port_free_on_all()) as allowed:
        secret = [answer(b"secret"), KEEP]
        async with serve(secret, "127.0.0.1", allowed.port) as v4, serve(secret, "::1", allowed.port) as v6:
            state = Sides([v4, v6], allowed)
            yield state


def _port_free_on_all() -> int:
    """A port below those that the system gives out by itself, which nobody has on any of the three addresses."""
    while True:
        port = random.randint(20_000, 32_000)
        try:
            for host in ("127.0.0.1", "127.0.0.2", "::1"):
                socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
        except OSError:
            continue
        return port


async def lookup_table(host: str, _port: int) -> Sequence[str]:
    table = {
        "good.test": ["127.0.0.2"],
        "localhost": ["127.0.0.1", "::1"],
        "evil.test": ["127.0.0.1"],
        "mixed.test": ["127.0.0.2", "127.0.0.1"],
        "evil6.test": ["::1"],
        "mapped.test": ["::ffff:127.0.0.1"],
        "zone.test": ["fe80::1%lo"],
        "metadata.test": ["169.254.169.254"],
    }
    if host not in table:
        raise OSError("no such name")
    return table[host]


REFUSED = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://0x7f.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://127.0.0.01:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://１２７.０.０.１:{port}/",
    "http://127。0。0。1:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%2f@good.test:{port}/",
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://LOCALHOST:{port}/",
    "http://evil.test:{port}/",
    "http://mixed.test:{port}/",
    "http://evil6.test:{port}/",
    "http://mapped.test:{port}/",
    "http://zone.test:{port}/",
    "http://metadata.test:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[2a00:1::5efe:7f00:1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fe80::1%lo]:{port}/",
    "http://[fd00:ec2::254]:{port}/",
    "http://[ff02::1]:{port}/",
    "http://[v1.127.0.0.1]:{port}/",
    "http://10.0.0.1:{port}/",
    "http://100.64.0.1:{port}/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/",
    "http://169.254.169.254/latest/meta-data/",
    "http://172.16.0.1:{port}/",
    "http://192.0.0.192:{port}/",
    "http://192.168.0.1:{port}/",
    "http://198.18.0.1:{port}/",
    "http://224.0.0.1:{port}/",
    "http://255.255.255.255:{port}/",
    "http://good.test@127.0.0.1:{port}/",
    "http://good.test:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@good.test/",
    "http://127.0.0.1:{port}\\@good.test/",
    "http://127.0.0.1:{port}?@good.test/",
    "http:\\\\127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\t/",
    "http://127.0.\n0.1:{port}/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1\x00.good.test:{port}/",
    "http://good.test\r\nHost: 127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "dict://127.0.0.1:{port}/",
    "unix:///var/run/docker.sock",
    "data:text/plain,x",
    "javascript:alert(1)",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:{port}x/",
    "http://[::1:{port}/",
    "http://:{port}/",
    "http://good..test:{port}/",
    "",
]


@pytest.mark.parametrize("pattern", REFUSED)
async def test_a_forbidden_address_is_refused_before_a_connection_is_made(sides: Sides, pattern: str) -> None:
    url = pattern.replace("{port}", str(sides.port))
    async with OutboundClient(allow_private=ALLOWED, lookup=lookup_table) as client:
        with pytest.raises(AddressRefused):
            await client.get(url, limits=LIMITS)
        with pytest.raises(AddressRefused):
            await client.post(url, body=b"{}", headers={}, limits=LIMITS)
    assert sides.reached() == 0
    assert sides.allowed.connections == 0


@pytest.mark.parametrize("pattern", [pattern for pattern in REFUSED if pattern and pattern.isprintable()])
async def test_a_redirect_to_a_forbidden_address_is_not_followed(sides: Sides, pattern: str) -> None:
    sides.redirect_to = pattern.replace("{port}", str(sides.port))
    async with OutboundClient(allow_private=ALLOWED, lookup=lookup_table) as client:
        with pytest.raises((AddressRefused, OriginRefused)):
            await client.get(sides.allowed.url(), limits=LIMITS)
    assert sides.reached() == 0


async def test_a_webhook_does_not_follow_redirects(sides: Sides) -> None:
    sides.redirect_to = sides.allowed.url("/other")
    async with OutboundClient(allow_private=ALLOWED, lookup=lookup_table) as client:
        with pytest.raises(OriginRefused) as caught:
            await client.post(sides.allowed.url(), body=b"{}", headers={}, limits=LIMITS)
    assert caught.value.status == 302
    assert len(sides.allowed.requests) == 1


async def test_a_name_that_changes_its_answer_after_the_check_is_not_followed_there(sides: Sides) -> None:
    answers = ["127.0.0.2", "127.0.0.1"]
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return [answers[min(len(asked), len(answers)) - 1]]

    sides.redirect_to = ""
    async with OutboundClient(allow_private=ALLOWED, lookup=rebinding) as client:
        with pytest.raises(OriginRefused):
            await client.get(sides.allowed.url(host="rebind.test"), limits=LIMITS)
        assert asked == ["rebind.test"]
        assert sides.allowed.connections == 1
    async with OutboundClient(allow_private=ALLOWED, lookup=rebinding) as client:
        with pytest.raises(AddressRefused, match="not a public address"):
            await client.get(sides.allowed.url(host="rebind.test"), limits=LIMITS)
    assert sides.reached() == 0


async def test_a_proxy_in_the_environment_is_not_used(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{sides.port}")
    monkeypatch.setenv("no_proxy", "")
    sides.redirect_to = ""
    async with OutboundClient(allow_private=ALLOWED, lookup=lookup_table) as client:
        with pytest.raises(OriginRefused):
            await client.get(sides.allowed.url(host="good.test"), limits=LIMITS)
    assert sides.reached() == 0
    assert sides.allowed.connections == 1


async def test_only_hosts_of_the_list_are_asked_also_after_a_redirect(sides: Sides) -> None:
    port = sides.port
    sides.redirect_to = f"http://127.0.0.2:{port}/elsewhere"
    async with OutboundClient(allow_private=ALLOWED, lookup=lookup_table) as client:
        with pytest.raises(AddressRefused) as direct:
            await client.get(sides.allowed.url(), limits=LIMITS, allowed_hosts=frozenset({"good.test"}))
        assert sides.allowed.connections == 0
        with pytest.raises(AddressRefused) as redirected:
            await client.get(
                sides.allowed.url(host="good.test"), limits=LIMITS, allowed_hosts=frozenset({f"good.test:{port}"})
            )
    assert direct.value.kind == redirected.value.kind == "host-not-allowed"
    assert len(sides.allowed.requests) == 1


@pytest.mark.parametrize("peer", [("127.0.0.1", 80), ("::1", 80, 0, 0), ("fe80::1", 80, 0, 2), ("10.0.0.1", 80)])
def test_no_socket_is_made_for_a_forbidden_address_whatever_was_checked_before(peer: tuple[object, ...]) -> None:
    """The last line: what aiohttp is about to connect to, literally."""
    make = socket_factory(AddressPolicy(ALLOWED))
    with pytest.raises(PermissionError, match="not a public address"):
        make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", peer))
    make((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.2", 80))).close()
