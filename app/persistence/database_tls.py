"""TLS to PostgreSQL, as libpq's parameters describe it.

    disable          never
    allow, prefer    when the server wants it, or has it; nothing is verified
    require          always; verified as by verify-ca when there is a root certificate, else not at all
    verify-ca        always; the certificate must come from the root certificate
    verify-full      and must be the host's; without a root certificate the system's are taken

As in libpq, files that are not named are looked for in `~/.postgresql`.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.errors import SettingsError
from app.persistence.database_parameters import choice, flag

MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
SYSTEM = "system"
"""As `sslrootcert`: the certificates that the system trusts."""


def tls_arguments(given: Mapping[str, str]) -> dict[str, Any]:
    """What `asyncpg.connect` is to be given for TLS.

    Raises:
        SettingsError: a value makes no sense, or a file is not there or not what it should be; names the parameter.
    """
    mode = _mode(given)
    direct = choice(given, "sslnegotiation", ("postgres", "direct")) == "direct"
    if direct and mode not in MODES[3:]:
        raise SettingsError("DATABASE_URL: sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    if mode not in MODES[3:]:
        return {} if mode is None else {"ssl": mode}
    return {"ssl": _context(mode, given)} | ({"direct_tls": True} if direct else {})


def _mode(given: Mapping[str, str]) -> str | None:
    """The mode; None leaves it to PGSSLMODE, and then to `prefer`."""
    implied = "require" if flag(given, "ssl") or flag(given, "requiressl") else None
    mode = choice(given, "sslmode", MODES) or implied
    if given.get("sslrootcert") != SYSTEM:
        return mode
    if mode not in {None, "verify-full"}:
        raise SettingsError("DATABASE_URL: sslrootcert=system needs sslmode=verify-full")
    return "verify-full"


def _context(mode: str, given: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    _trust(context, mode, given)
    _revoke(context, given)
    if choice(given, "sslcertmode", ("disable", "allow", "require")) != "disable":
        _identify(context, given)
    context.minimum_version = _version(given, "ssl_min_protocol_version", ssl.TLSVersion.TLSv1_2)
    context.maximum_version = _version(given, "ssl_max_protocol_version", ssl.TLSVersion.MAXIMUM_SUPPORTED)
    context.set_alpn_protocols(["postgresql"])
    return context


def _trust(context: ssl.SSLContext, mode: str, given: Mapping[str, str]) -> None:
    path = given.get("sslrootcert") or _default("root.crt")
    if path is not None and path != SYSTEM:
        _load("sslrootcert", path, lambda: context.load_verify_locations(cafile=path))
    elif mode == "verify-full":
        context.load_default_certs()
    elif mode == "verify-ca":
        raise SettingsError(
            "DATABASE_URL: sslmode=verify-ca needs sslrootcert=FILE, the certificate that signed the server's; "
            "verify-full can do without"
        )
    else:
        context.verify_mode = ssl.CERT_NONE


def _revoke(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    path, folder = given.get("sslcrl") or _default("root.crl"), given.get("sslcrldir") or None
    if path is None and folder is None:
        return
    if folder is not None and not Path(folder).is_dir():
        raise SettingsError(f"DATABASE_URL: sslcrldir: there is no folder {folder}")
    _load("sslcrl", path or str(folder), lambda: context.load_verify_locations(cafile=path, capath=folder))
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _identify(context: ssl.SSLContext, given: Mapping[str, str]) -> None:
    """Show the server a certificate of ours, when there is one."""
    cert = given.get("sslcert") or _default("postgresql.crt")
    key = given.get("sslkey") or _default("postgresql.key")
    if cert is None:
        return
    password = given.get("sslpassword", "")
    if key is not None and not Path(key).is_file():
        raise SettingsError(f"DATABASE_URL: sslkey: there is no file {key}")
    _load("sslcert or sslkey", cert, lambda: context.load_cert_chain(cert, key, password=lambda: password))


def _version(given: Mapping[str, str], name: str, default: ssl.TLSVersion) -> ssl.TLSVersion:
    chosen = choice(given, name, VERSIONS)
    return default if chosen is None else ssl.TLSVersion[chosen.replace(".", "_")]


def _default(name: str) -> str | None:
    """Where libpq looks for a file that is not named, when it is there."""
    try:
        path = Path.home() / ".postgresql" / name
        return str(path) if path.is_file() else None
    except (RuntimeError, OSError):
        return None


def _load(name: str, path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError:
        raise SettingsError(f"DATABASE_URL: {name}: {path} cannot be used: not what it should be, or locked") from None
    except OSError as error:
        raise SettingsError(f"DATABASE_URL: {name}: {path} cannot be read ({error.strerror})") from None
