"""Certificates made on the spot: an authority, what it signs and takes back, and one that nobody signed."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)
PEM = serialization.Encoding.PEM


class Authority:
    """A certificate authority of a test's own, with its files in `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = folder / f"{name}.crt"
        self.certificate.write_bytes(self._sign(name, self._key.public_key(), ca=True).public_bytes(PEM))

    def issue(self, host: str, password: bytes | None = None) -> tuple[Path, Path]:
        """A certificate for a host, or for the user of that name, and its key, `password` locking it."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, secret = self._folder / f"{host}.crt", self._folder / f"{host}.key"
        certificate.write_bytes(self._sign(host, key.public_key(), ca=False).public_bytes(PEM))
        lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        secret.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
        secret.chmod(0o600)
        return certificate, secret

    def revoke(self, certificate: Path) -> Path:
        """A list of what is revoked, which names `certificate`."""
        now = datetime.now(UTC)
        serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
        listing = x509.CertificateRevocationListBuilder().issuer_name(_name(self._name)).add_revoked_certificate(entry)
        signed = listing.last_update(now - DAY).next_update(now + DAY).sign(self._key, hashes.SHA256())
        path = self._folder / f"{self._name}.crl"
        path.write_bytes(signed.public_bytes(PEM))
        return path

    def _sign(self, host: str, key: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        builder = _certificate(host, issuer=self._name, key=key, ca=ca)
        if not ca:
            builder = builder.add_extension(_address(host), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def self_signed(folder: Path, host: str) -> Path:
    """A certificate for a name or an address that vouches for itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    unsigned = _certificate(host, issuer=host, key=key.public_key(), ca=True)
    signed = unsigned.add_extension(_address(host), critical=False).sign(key, hashes.SHA256())
    secret = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "self-signed.pem"
    path.write_bytes(secret + signed.public_bytes(PEM))
    return path


def _certificate(host: str, *, issuer: str, key: ec.EllipticCurvePublicKey, ca: bool) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(host))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _address(host: str) -> x509.SubjectAlternativeName:
    try:
        return x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    except ValueError:
        return x509.SubjectAlternativeName([x509.DNSName(host)])
