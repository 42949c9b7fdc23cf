"""Certificates: verified by the name that was asked for, although the connection goes to the checked address."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.errors import OriginUnavailable
from app.outbound import FetchLimits, OutboundClient
from tests.support.raw_http import answer

LIMITS = FetchLimits(max_bytes=1_000, connect_timeout_s=2, first_byte_timeout_s=2, total_timeout_s=4)
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


async def lookup(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `good.test`, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "good.test")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("good.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "good.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


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

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


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
