"""The manifest: which documents there are, and each one's hash.

    bytes ── line by line ──▶ URL|HASH ──▶ entry by (supplier, file name)    the last line of a key counts
                               ├─ blank, CAT.csv: known
                               └─ anything else: invalid, with line number and reason; never fetched, never fatal

An entry's key is (supplier, file name), both percent-decoded once, so that `A%20B.json` and `A B.json` are one
document and a moved host or profile does not make everything new; the path's case matters. What cannot be decoded to
storable text keeps its percent signs.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

import msgspec

from app.catalogue.guard import OddLines
from app.errors import ManifestUnreadable
from app.feed.last_line import LineLengths
from app.feed.values import has_endless_host, without_edges

LINE_MAX_CHARS = 4096
INVALID_KEPT = 1000
"""How many invalid lines are kept with their reason; `invalid_total` counts them all."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_TEXT_START_CHARS = 200
_HASH_MAX_CHARS = 200
_SUPPLIER_MAX_CHARS = 100
_FILE_NAME_MAX_CHARS = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNSENDABLE = re.compile(r"[^\x21-\x7e]")


class ManifestEntry(msgspec.Struct, frozen=True, gc=False):
    """A document that the manifest names."""

    supplier: str
    file_name: str
    url: str
    """As it stands in the line, with the base's scheme where it begins with `//`; ask for `request_url(url)`."""
    hash: str | None
    """An opaque token in lower case; None when the line has none."""
    line: int
    """Counted from 1."""


class InvalidLine(msgspec.Struct, frozen=True):
    """A line that is no entry and nothing known."""

    line: int
    reason: str
    text_start: str
    """Its first 200 characters."""
    supplier: str | None
    """The supplier that it belongs to, where its path names one that has entries."""
    digest: int
    """Of the whole line, 64 bits with sign, to find it again in another manifest wherever it stands."""


class ManifestData(msgspec.Struct, frozen=True):
    """A manifest, read."""

    entries: dict[str, dict[str, ManifestEntry]]
    """By supplier code and file name, in the manifest's order."""
    invalid: list[InvalidLine]
    """The first thousand."""
    invalid_total: int
    invalid_beyond: Counter[str | None]
    """How many more than those there are, by the supplier that has entries, or None."""
    last_line_cut: bool
    """The last line is neither a document nor known, or its hash is missing or of another length than all others."""

    @property
    def total(self) -> int:
        """The number of entries of all suppliers."""
        return sum(len(entries) for entries in self.entries.values())

    def entries_of(self, supplier: str) -> list[ManifestEntry]:
        """One supplier's entries; empty for one that the manifest does not name."""
        return list(self.entries.get(supplier, {}).values())

    def invalid_count_of(self, supplier: str) -> int:
        """How many lines of this supplier or of none could not be read (API.md, `manifest.invalid`)."""
        return len(self.invalid_of(supplier)) + self._beyond_of(supplier)

    def _beyond_of(self, supplier: str) -> int:
        return self.invalid_beyond[supplier] + self.invalid_beyond[None]

    def invalid_of(self, supplier: str) -> list[InvalidLine]:
        """Those of them that are kept."""
        return [line for line in self.invalid if line.supplier in (supplier, None)]

    def odd_lines_of(self, supplier: str) -> OddLines:
        """The same lines, to be compared with another manifest's; those that are not kept by their number."""
        digests = frozenset(line.digest for line in self.invalid_of(supplier))
        return OddLines(digests, self._beyond_of(supplier))


def read_manifest(body: bytes, *, base_url: str, allowed_hosts: tuple[str, ...]) -> ManifestData:
    """Read a manifest.

    Args:
        body: The bytes, decompressed.
        base_url: The profile's base address; documents lie on its host.
        allowed_hosts: Further hosts (`name` or `name:port`) that documents may lie on.

    Raises:
        ManifestUnreadable: empty, an HTML page, binary, or without a single document line.
    """
    reader = _Reader(base_url, allowed_hosts)
    for number, line in _lines(body):
        reader.add(number, line)
    if not reader.entries:
        raise ManifestUnreadable(_why_unreadable(body, reader.invalid))
    return reader.result()


def ascii_host(host: str) -> str:
    """A host, or `host:port`, in the one spelling in which hosts are compared: as it is asked for, without a last dot.

    What no host can be called stays as it is, and is none that could be asked.

    >>> [ascii_host(host) for host in ("B\u00fccher.example", "xn--bcher-kva.example.", "promi-dl.de:8443")]
    ['xn--bcher-kva.example', 'xn--bcher-kva.example', 'promi-dl.de:8443']
    """
    try:
        return (host if host.isascii() else host.encode("idna").decode("ascii")).lower().removesuffix(".")
    except UnicodeError:
        return host.lower()


def request_url(url: str) -> str:
    """An address of the feed as it goes on the wire.

    Blanks and non-ASCII are percent-encoded once; whatever is ASCII (`%2F`, `%25`, `+`) stays as it is. Give it to an
    HTTP client as already encoded.
    """
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return (
        scheme
        + slashes
        + (host if host.isascii() else ascii_host(host))
        + slash
        + _UNSENDABLE.sub(lambda found: quote(found.group(), safe=""), path)
    )


def _percent_encoded(error: UnicodeError) -> tuple[str, int]:
    """Keep bytes that are no UTF-8 (a Latin-1 file name) as the bytes that the origin has to be asked for."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"%{byte:02X}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("promidata.percent", _percent_encoded)


def _lines(body: bytes) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers; one at a time, since a body may hold millions."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        body = body.decode("utf-16", "replace").encode()
    if b"\n" not in body:
        body = body.replace(b"\r", b"\n")
    for number, raw in enumerate(io.BytesIO(body.removeprefix(codecs.BOM_UTF8)), start=1):
        line = without_edges(raw[: 4 * LINE_MAX_CHARS].decode("utf-8", "promidata.percent"))
        if line:
            yield number, line


def _why_unreadable(body: bytes, invalid: list[InvalidLine]) -> str:
    text = body.removeprefix(codecs.BOM_UTF8)
    start = text[:512].lstrip()
    if not start and not text.strip():
        return "the manifest is empty"
    if start.startswith(b"<"):
        return "the manifest is an HTML or XML page (a login or an error page?)"
    if b"\0" in body[:4096] and not body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "the manifest is not text"
    first = f"; line {invalid[0].line}: {invalid[0].reason}" if invalid else ""
    return f"the manifest names no document{first}"


class _Refused(Exception):
    """Why a line is invalid."""


class _Reader:
    """Collects what the lines say."""

    def __init__(self, base_url: str, allowed_hosts: tuple[str, ...]) -> None:
        base = urlsplit(base_url)
        self._hosts = {ascii_host(host) for host in (*allowed_hosts, base.hostname or "")}
        self._scheme = base.scheme
        self._base_folder = base_url.rstrip("/") + "/"
        self._folders: dict[str, str] = {}
        self._lengths = LineLengths()
        self._last_known = True
        self._invalid_total = 0
        self._beyond: Counter[str] = Counter()
        self.entries: dict[str, dict[str, ManifestEntry]] = {}
        self.invalid: list[InvalidLine] = []

    def add(self, number: int, line: str) -> None:
        """Take the next line that is not blank."""
        url, token = split_line(line)
        url = f"{self._scheme}:{url}" if url.startswith("//") else url
        self._last_known = True
        folder, _, name = url.rpartition("/")
        if "|" in folder or line.count("://") > 1:
            # the first one is lost as well, and may be any supplier's: so this line is everybody's
            self._add_invalid(number, line, "", "two lines that ran together")
            return
        if name.lower() == "cat.csv":
            self._lengths.add_other()
            return
        try:
            self._add_entry(number, url, token)
        except _Refused as error:
            self._add_invalid(number, line, url, str(error))

    def _add_entry(self, number: int, url: str, token: str | None) -> None:
        folder, _, name = url.rpartition("/")
        if len(url) > LINE_MAX_CHARS or (token and len(token) > _HASH_MAX_CHARS):
            raise _Refused("longer than any address and hash")
        if not name.lower().endswith(".json") or "?" in url or "#" in url:
            raise _Refused("not an address that ends in .json")
        file_name = _decoded(name)
        if _CONTROL.search(url) or _CONTROL.search(token or "") or len(file_name) > _FILE_NAME_MAX_CHARS:
            raise _Refused("holds control characters, or a name that is too long")
        supplier = self._folders.get(folder) or self._supplier_of(folder)
        of_supplier = self.entries.setdefault(supplier, {})
        of_supplier[file_name] = ManifestEntry(supplier, file_name, url, token, number)
        self._lengths.add_document(token)

    def _supplier_of(self, folder: str) -> str:
        """The supplier of a folder that has not been seen yet; checked once, since 100,000 lines share a few."""
        if has_endless_host(folder):
            raise _Refused("not an address")
        try:
            parts = urlsplit(folder)
            host, port = ascii_host(parts.hostname or ""), parts.port
        except ValueError:
            raise _Refused("not an address") from None
        if parts.scheme not in {"http", "https"} or not host:
            raise _Refused("not an http(s) address")
        if "@" in parts.netloc or "\\" in folder or port == 0:
            raise _Refused("an address with port 0, a user name or a backslash")
        if self._hosts.isdisjoint((host, f"{host}:{port or _DEFAULT_PORTS[parts.scheme]}")):
            raise _Refused(f"the host {host[:100]} is not the feed's")
        self._folders[folder] = supplier = self._segment(folder, parts.path)
        return supplier

    def _segment(self, folder: str, path: str) -> str:
        segments = path.split("/")
        supplier = _decoded(segments[-1]).strip()
        if folder + "/" == self._base_folder or not supplier:
            raise _Refused("no supplier's folder before the file name")
        if {".", ".."} & {supplier, *map(unquote, segments)} or len(supplier) > _SUPPLIER_MAX_CHARS:
            raise _Refused("a folder that is no supplier's")
        return supplier

    def _add_invalid(self, number: int, line: str, url: str, reason: str) -> None:
        self._last_known = False
        self._invalid_total += 1
        supplier = _decoded(url.rpartition("/")[0].rpartition("/")[2][:_SUPPLIER_MAX_CHARS])
        if len(self.invalid) == INVALID_KEPT:
            self._beyond[supplier] += 1
        else:
            start = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", line[:_TEXT_START_CHARS])
            self.invalid.append(InvalidLine(number, reason, start, supplier or None, _digest(line)))

    def result(self) -> ManifestData:
        """Everything, once the last line was added."""
        invalid = [
            line if line.supplier in self.entries else msgspec.structs.replace(line, supplier=None)
            for line in self.invalid
        ]
        beyond: Counter[str | None] = Counter()
        for supplier, number in self._beyond.items():
            beyond[supplier if supplier in self.entries else None] += number
        cut = not self._last_known or self._lengths.last_stands_out()
        return ManifestData(self.entries, invalid, self._invalid_total, beyond, cut)


def _digest(line: str) -> int:
    digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def split_line(line: str) -> tuple[str, str | None]:
    """Address and hash of a line; the address may hold a `|` itself, the hash cannot."""
    url, bar, token = line.rpartition("|")
    if not bar or (line[-5:].lower() == ".json" and not url.rstrip().lower().endswith((".json", ".csv"))):
        return line, None
    return url.rstrip(), token.strip().lower() or None


def _decoded(segment: str) -> str:
    if "%" not in segment:
        return segment
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        return segment
    return segment if _CONTROL.search(text) else text
