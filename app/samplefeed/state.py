"""A feed's state: its entries, what they hold, and what is served at which path. It changes in `feed.py`.

spec -> plans -> entries (kept)         body: plan -> document (made when asked for, kept packed)
entries -> manifest (kept until the next change)
"""

from __future__ import annotations

import gzip
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson

from app.samplefeed.bodies import PackedBodies
from app.samplefeed.documents import DocumentMaker
from app.samplefeed.entries import Entry
from app.samplefeed.manifest import ManifestStyle, categories_bytes, manifest_bytes
from app.samplefeed.pictures import ADDRESS, CONTENT_TYPES, PICTURES_AT, picture_bytes
from app.samplefeed.plans import supplier_plans
from app.samplefeed.spec import FeedSpec

Json = dict[str, Any]

DEFAULT_ORIGIN = "http://127.0.0.1"


class FeedState:
    """What a feed holds at this moment, and how it reads."""

    def __init__(self, spec: FeedSpec | None = None) -> None:
        self.spec = spec or FeedSpec()
        self.manifest_style = ManifestStyle()
        self.categories: bytes | None = categories_bytes()
        """`CAT.csv`; None for a profile without one."""
        self.version = 0
        """Moves with every change."""
        self._maker = DocumentMaker(self.spec)
        self._bodies = PackedBodies()
        self._entries: dict[str, Entry] = {}
        self._named: defaultdict[str, list[Entry]] = defaultdict(list)
        self._pictures: dict[str, tuple[bytes, str] | None] = {}
        self._manifest: tuple[tuple[int, str], bytes] | None = None
        for supplier in self.spec.suppliers:
            for plan in supplier_plans(self.spec, supplier):
                self._add(Entry(supplier.code, f"{plan.sku}.json", plan))
        self.serve_at(DEFAULT_ORIGIN, DEFAULT_ORIGIN)

    def serve_at(self, origin: str, pictures_origin: str) -> None:
        """Say where it is served (`http://host:port`), which is what manifest and documents name."""
        self.origin = origin
        self.pictures_origin = pictures_origin

    @property
    def base_path(self) -> str:
        """The profile's path, without a trailing slash."""
        return f"/Profiles/Live/{self.spec.profile_guid}"

    @property
    def base_url(self) -> str:
        """What PROMIDATA_BASE_URL is to be set to."""
        return self.origin + self.base_path

    def suppliers(self) -> tuple[str, ...]:
        """The codes of the suppliers that the manifest names, in its order."""
        return tuple(dict.fromkeys(entry.supplier for entry in self._entries.values() if entry.listed))

    def entries(self, supplier: str | None = None) -> Iterator[Entry]:
        """The listed entries in the manifest's order, of one supplier or of all."""
        for entry in self._entries.values():
            if entry.listed and supplier in (None, entry.supplier):
                yield entry

    def entry(self, sku: str, supplier: str | None = None) -> Entry:
        """The entry of a document by its file's stem, listed or not.

        Raises:
            KeyError: no document has this name, or several suppliers' do and none was named.
        """
        found = [entry for entry in self._named.get(f"{sku}.json", ()) if supplier in (None, entry.supplier)]
        if len(found) != 1:
            raise KeyError(f"{len(found)} documents are named {sku}.json")
        return found[0]

    def entry_at(self, path: str) -> Entry | None:
        """The entry that is served at a percent-encoded path under the profile's base."""
        entry = self._entries.get(path)
        return entry if entry is not None and entry.served else None

    def packed_document(self, entry: Entry) -> bytes:
        """An entry's document as it goes on the wire, as gzip."""
        key = (entry.path, entry.content, self.pictures_origin)
        return self._bodies.get(key, lambda: self._placed(self._content(entry)))

    def document_bytes(self, entry: Entry) -> bytes:
        """An entry's document as it goes on the wire, plain."""
        return gzip.decompress(self.packed_document(entry))

    def document(self, sku: str, supplier: str | None = None) -> Json:
        """A document's JSON, by its file's stem."""
        document: Json = orjson.loads(self.document_bytes(self.entry(sku, supplier)))
        return document

    def stale_bytes(self, entry: Entry) -> bytes:
        """The document as it was before its last change, plain."""
        before = entry.put_aside()
        return self._placed(before if before is not None else self._made(entry))

    def manifest(self) -> bytes:
        """The manifest as it is served."""
        key = (self.version, self.base_url)
        if self._manifest is None or self._manifest[0] != key:
            body = manifest_bytes(
                self.manifest_style, self.base_url, self.spec.seed, self._entries.values(), self.categories or b""
            )
            self._manifest = (key, body)
        return self._manifest[1]

    def picture(self, path: str) -> tuple[bytes, str] | None:
        """A picture's bytes and content type by its path, or None where there is none."""
        if path in self._pictures:
            return self._pictures[path]
        body = picture_bytes(self.spec.seed, path, small=self.spec.small_pictures, wanted_bytes=self.spec.picture_bytes)
        match = ADDRESS.match(path)
        return None if body is None or match is None else (body, CONTENT_TYPES[match[2]])

    def picture_sha256(self, url: str) -> str | None:
        """The sha256 of what is served at a picture's address, or None where there is none."""
        found = self.picture(url.removeprefix(self.pictures_origin))
        return None if found is None else hashlib.sha256(found[0]).hexdigest()

    def _add(self, entry: Entry) -> None:
        self._entries[entry.path] = entry
        self._named[entry.file_name].append(entry)

    def _content(self, entry: Entry) -> bytes:
        return gzip.decompress(entry.body) if entry.body is not None else self._made(entry)

    def _made(self, entry: Entry) -> bytes:
        return b"{}" if entry.plan is None else self._maker.make(entry.plan)

    def _placed(self, body: bytes) -> bytes:
        return body.replace(PICTURES_AT.encode(), self.pictures_origin.encode())
