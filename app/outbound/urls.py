"""What an address may look like, and the one reading of it that is used from the check to the socket.

    text ─▶ no control characters, backslashes, user info ─▶ scheme, host, port, target ─▶ rebuilt from those parts

Parsers disagree about odd addresses, and every disagreement is a way in. So nothing odd is repaired: a host is a plain
DNS name, a dotted quad or a bracketed IPv6 address, and the rest (`127.1`, `0x7f.1`, `2130706433`, `%31`, full-width
digits that turn into an IP) is refused. Any port is allowed: the check of the address is what keeps networks apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from app.errors import AddressRefused
from app.logs import mask_address

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 8_000
KNOWN_HOSTS = 256
SAFE_IN_TARGET = "%/:?=&~+!$,;'@()*[]"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
_RAW_BYTE = re.compile(r"[\udc80-\udcff]")
"""A byte of a header that is no UTF-8, as the HTTP client hands it over."""
_LONE_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")


class _OddHost(Exception):
    """What is wrong with a host, as the end of a sentence that begins with the address."""


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An address in parts, canonical: lower-case host without a final dot, encoded target, no fragment."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query, percent-encoded, as the server gets it."""
    is_literal: bool
    """Whether the host is an IP address itself."""

    def __str__(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def origin(self) -> str:
        """Scheme, host and port, e.g. `https://promi-dl.de` or `http://[2001:db8::1]:81`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def is_on(self, hosts: frozenset[str]) -> bool:
        """Whether the host is one of `hosts`, whose entries are `host` (any port) or `host:port`."""
        return self.host in hosts or f"{self.host}:{self.port}" in hosts


class Shown:
    """An address as messages show it, without what is secret; put together when one is written, which is rare."""

    __slots__ = ("_address",)

    def __init__(self, address: WebAddress | str) -> None:
        self._address = address

    def __str__(self) -> str:
        try:
            return mask_address(str(self._address))
        except ValueError:
            return "the address"


def parse_address(url: str) -> WebAddress:
    """Read an address strictly.

    The target is taken as given: raw blanks and non-ASCII characters are encoded once, escapes are left alone.

    Raises:
        AddressRefused: with a `kind` that says what is wrong: `address-malformed`, `address-scheme`, `address-host`.
    """
    if len(url) > MAX_URL_CHARS or _CONTROL.search(url) or url != url.strip():
        raise _refused(url, "has control characters or is too long", "address-malformed")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refused(url, "cannot be read as an address", "address-malformed") from None
    scheme = parts.scheme.lower()
    if scheme not in DEFAULT_PORTS:
        raise _refused(url, "is neither http nor https", "address-scheme")
    if "@" in parts.netloc or "\\" in parts.netloc or port == 0:
        raise _refused(url, "has user info, a backslash or port 0", "address-malformed")
    try:
        host, is_literal = _read_host(parts.netloc)
    except _OddHost as odd:
        raise _refused(url, str(odd), "address-host") from None
    return WebAddress(scheme, host, port or DEFAULT_PORTS[scheme], _encode_target(parts), is_literal)


def resolve_redirect(origin: WebAddress, location: str) -> WebAddress:
    """The address that a `Location` header leads to, read as strictly as any other.

    A raw byte in it, such as a Latin-1 letter, is asked for as that byte.

    Raises:
        AddressRefused: also for a step down from https to http.
    """
    if _CONTROL.search(location):
        raise AddressRefused("the redirect has control characters", kind="address-malformed")
    try:
        joined = urljoin(str(origin), _RAW_BYTE.sub(lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", location))
    except ValueError:
        raise AddressRefused("the redirect cannot be read as an address", kind="address-malformed") from None
    target = parse_address(joined)
    if origin.scheme == "https" and target.scheme == "http":
        raise AddressRefused(f"{mask_address(str(target))}: the redirect leaves https", kind="address-scheme")
    return target


@lru_cache(maxsize=KNOWN_HOSTS)  # a run asks few hosts for all of its pictures
def _read_host(netloc: str) -> tuple[str, bool]:
    """The host, and whether it is an IP address itself."""
    raw = SplitResult("", netloc, "", "", "").hostname or ""
    if "[" in netloc:
        return _read_ipv6(raw), True
    host = _to_ascii(raw).removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _OddHost("has no plain host name")
    if not _NUMERIC_LABEL.fullmatch(labels[-1]):
        return host, False
    if host != raw:
        raise _OddHost("hides an IP address")
    return _read_ipv4(host), True


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise _OddHost("has a host name that cannot be encoded") from None


def _read_ipv4(host: str) -> str:
    try:
        return str(IPv4Address(host))
    except AddressValueError:
        raise _OddHost("has an IP address in an unusual form") from None


def _read_ipv6(host: str) -> str:
    try:
        address = IPv6Address(host)
    except AddressValueError:
        raise _OddHost("has an IP address in an unusual form") from None
    if address.scope_id is not None:
        raise _OddHost("names an interface of this machine")
    return str(address)


def _encode_target(parts: SplitResult) -> str:
    path = _LONE_PERCENT.sub("%25", parts.path) or "/"
    query = f"?{_LONE_PERCENT.sub('%25', parts.query)}" if parts.query else ""
    return quote(path.replace("?", "%3F") + query, safe=SAFE_IN_TARGET)


def _refused(url: str, why: str, kind: str) -> AddressRefused:
    return AddressRefused(f"{_shown(url)} {why}", kind=kind, why=why)


def _shown(url: str) -> str:
    """The address for a message: masked, without what would break a line, and not longer than one."""
    try:
        masked = mask_address(_CONTROL.sub("�", url))
    except ValueError:
        masked = "the address"
    return masked[:200]
