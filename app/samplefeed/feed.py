"""The sample feed: its state and a switch for each kind of change. Every change moves hash and version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from app.samplefeed import edits
from app.samplefeed.entries import Entry
from app.samplefeed.pictures import picture_path
from app.samplefeed.plans import family_plans
from app.samplefeed.state import FeedState

Json = dict[str, Any]


class SampleFeed(FeedState):
    """A feed that can be read and changed. SKUs name documents: the stem of the file's name."""

    def edit(self, sku: str, change: Callable[[Json], object], *, rehash: bool = True) -> None:
        """Change a document's JSON in place; without `rehash` under its old hash.

        Raises:
            KeyError: there is no such document.
        """
        entry = self.entry(sku)
        document = orjson.loads(self._content(entry))
        change(document)
        entry.put(orjson.dumps(document))
        self._changed(entry, rehash=rehash)

    def change_price(self, sku: str, factor: float = 1.1) -> None:
        """Every price of the document's variants times `factor`."""
        self.edit(sku, lambda document: edits.change_price(document, factor))

    def rename(self, sku: str, suffix: str = "Plus") -> None:
        """A suffix to the name, in every language."""
        self.edit(sku, lambda document: edits.rename(document, suffix))

    def keep_variants(self, sku: str, count: int) -> None:
        """Only the first `count` variants stay."""
        self.edit(sku, lambda document: edits.keep_variants(document, count))

    def remove_variant(self, sku: str, variant_sku: str) -> None:
        """One variant goes. KeyError when the family has no such variant."""
        self.edit(sku, lambda document: edits.drop_variant(document, variant_sku))

    def add_variant(self, sku: str) -> str:
        """One more variant, like the last one, and its SKU."""
        added: list[str] = []
        self.edit(sku, lambda document: added.append(edits.copy_variant(document)))
        return added[0]

    def swap_picture(self, sku: str) -> str:
        """The first variant's primary becomes a picture that was nowhere before; gives its address."""
        entry = self.entry(sku)
        path = picture_path(self.spec.seed, entry.supplier, f"{sku} swapped {entry.content}")
        self.edit(sku, lambda document: edits.swap_primary(document, path))
        return self.pictures_origin + path

    def revert(self, sku: str) -> None:
        """The document as it was made at first, under a new hash."""
        entry = self.entry(sku)
        entry.put(None)
        self._changed(entry, rehash=True)

    def rehash(self, sku: str) -> None:
        """A new hash for the same content."""
        self._changed(self.entry(sku), rehash=True)

    def set_hash(self, sku: str, told: str | None) -> None:
        """The manifest's hash as given: any text, "" for a line without one, None for the feed's own."""
        self.entry(sku).told_hash = told
        self.version += 1

    def add_family(self, supplier: str) -> str:
        """One more family of an ordinary shape; gives its SKU. KeyError for a supplier that is not in the spec."""
        known = next((one for one in self.spec.suppliers if one.code == supplier), None)
        if known is None:
            raise KeyError(supplier)
        number = known.families
        while True:
            plans = list(family_plans(self.spec, known, number))
            if plans[0].shape == "family" and f"{supplier}/{plans[0].sku}.json" not in self._entries:
                break
            number += 1
        self._add(Entry(supplier, f"{plans[0].sku}.json", plans[0]))
        self.version += 1
        return plans[0].sku

    def remove_family(self, sku: str) -> None:
        """The document goes from the manifest and from its address."""
        self._list(sku, listed=False, served=False)

    def hide_family(self, sku: str) -> None:
        """The document goes from the manifest and is still served."""
        self._list(sku, listed=False, served=True)

    def restore_family(self, sku: str) -> None:
        """What was removed or hidden is there again, as it was."""
        self._list(sku, listed=True, served=True)

    def hide_supplier(self, supplier: str, *, hidden: bool = True) -> None:
        """All documents of a supplier go from the manifest, or come back."""
        for entry in self._entries.values():
            if entry.supplier == supplier:
                entry.listed = not hidden
        self.version += 1

    def set_document(self, supplier: str, file_name: str, body: bytes | Json, *, rehash: bool = True) -> None:
        """Put any document under a supplier, new or in another's place: raw bytes, or JSON."""
        fresh = Entry(supplier, file_name, None)
        if fresh.path not in self._entries:
            self._add(fresh)
        entry = self._entries[fresh.path]
        entry.put(body if isinstance(body, bytes) else orjson.dumps(body))
        entry.listed = entry.served = True
        self._changed(entry, rehash=rehash)

    def set_manifest(self, raw: bytes | None) -> None:
        """Serve these bytes as the manifest; None: the feed's own again."""
        self.style_manifest(raw=raw)

    def style_manifest(self, **changes: Any) -> None:
        """Write the manifest otherwise; the names are the ones of `ManifestStyle`."""
        self.manifest_style = replace(self.manifest_style, **changes)
        self.version += 1

    def add_manifest_lines(self, *lines: str) -> None:
        """Lines at the manifest's end, as they are given."""
        self.style_manifest(lines_after=[*self.manifest_style.lines_after, *lines])

    def set_categories(self, body: bytes | None) -> None:
        """Another `CAT.csv`; None: the profile has none."""
        self.categories = body
        self.version += 1

    def set_picture(self, url: str, body: bytes | None, content_type: str = "image/jpeg") -> None:
        """Other bytes behind a picture's address (also one of no document); None: it is gone."""
        path = url.removeprefix(self.pictures_origin)
        self._pictures[path] = None if body is None else (body, content_type)
        self.version += 1

    def _list(self, sku: str, *, listed: bool, served: bool) -> None:
        entry = self.entry(sku)
        entry.listed, entry.served = listed, served
        self.version += 1

    def _changed(self, entry: Entry, *, rehash: bool) -> None:
        entry.revision += int(rehash)
        self.version += 1
