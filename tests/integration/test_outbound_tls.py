"""Certificates: verified by the name that was asked for, although the connection goes to the checked address."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.errors import OriginUnavailable
from app.outbound import FetchLimits, OutboundClient
from tests.support.certificates import self_signed
from tests.support.listening import listening
from tests.support.raw_http import answer

LIMITS = FetchLimits(max_bytes=1_000, connect_timeout_s=2, first_byte_timeout_s=2, total_timeout_s=4)
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


async def lookup(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `good.test`, with its key, in one file."""
    return self_signed(tmp_path_factory.mktemp("tls"), "good.test")


@asynccontextmanager
async def tls_server(certificate: Path) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer(b"secret", Connection="close"))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with listening(handle, tls=context) as port:
        yield port


async def test_a_trusted_certificate_of_the_right_name_is_taken(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        tls_server(certificate) as port,
        OutboundClient(allow_private=LOOPBACK, lookup=lookup, tls=trust) as client,
    ):
        fetched = await client.get(f"https://good.test:{port}/", limits=LIMITS)
    assert fetched.body == b"secret"


async def test_another_name_is_refused_whoever_signed(certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    async with (
        tls_server(certificate) as port,
        OutboundClient(allow_private=LOOPBACK, lookup=lookup, tls=trust) as client,
    ):
        for host in ("other.test", "127.0.0.1"):
            with pytest.raises(OriginUnavailable, match="TLS"):
                await client.get(f"https://{host}:{port}/", limits=LIMITS)


async def test_a_certificate_that_nobody_trusts_is_refused(certificate: Path) -> None:
    async with tls_server(certificate) as port, OutboundClient(allow_private=LOOPBACK, lookup=lookup) as client:
        with pytest.raises(OriginUnavailable, match="TLS"):
            await client.get(f"https://good.test:{port}/", limits=LIMITS)
