"""Documents to a family: everything that they say, read as it was meant.

    bytes ── jsontext ──▶ Document (root and children, still unread)
                               │  one with children, or several without that share an ANumber
                               ▼
    languages, prices, pictures, imprint positions, attributes ──▶ FamilyData + warnings

A value that makes no sense is a warning and absent; only a document that is none (broken, no SKU) is an error. Keys
and languages are never taken in the feed's order, so a shuffled document reads the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.catalogue.grouping import family_key, primaries, speaking_document
from app.catalogue.types import DocumentOutline, FamilyData, ReadingWarning
from app.errors import DocumentUnreadable
from app.feed.jsontext import read_object, too_deep
from app.feed.node import Node, Notes
from app.feed.outline import children_of, own_sku
from app.feed.pictures import HTTPS
from app.feed.values import Unfit, key_of
from app.feed.variants import FamilyReader, Member, default_products


class Document(msgspec.Struct, frozen=True):
    """A document whose JSON holds and whose SKU is known, its fields still unread."""

    file_name: str
    sku: str
    a_number: str | None
    root: Node
    children: tuple[Node, ...]
    notes: Notes

    def outline(self) -> DocumentOutline:
        """What groups it; the children's SKUs are not looked at."""
        return DocumentOutline(self.sku, self.a_number, bool(self.children), ())


def open_family_document(file_name: str, raw: bytes) -> Document:
    """Split a document into root and children.

    Raises:
        DocumentUnreadable: as `read_outline`.
    """
    notes: Notes = []
    root = Node(read_object(raw), "", notes)
    return Document(file_name, own_sku(root), root.read("ANumber", key_of), root, tuple(children_of(root)), notes)


def read_family(
    documents: Sequence[tuple[str, bytes]],
    *,
    supplier: str,
    price_regions: tuple[str, ...],
    languages: tuple[str, ...],
    scheme: str = HTTPS,
    family_sku: str | None = None,
) -> tuple[FamilyData, tuple[ReadingWarning, ...]]:
    """Read the documents (file name, bytes) of one family: one with children, or those that share an ANumber.

    Args:
        documents: At least one; their order means nothing.
        supplier: The supplier's code; an ANumber that equals it names no family.
        price_regions: The preferred regions first, for the primary variant.
        languages: The preferred languages first, for colour, size and the primary picture.
        scheme: That of the documents' own addresses, for pictures at `//host/p.png`.
        family_sku: The family that they were grouped into, where it is known; else they say it themselves.

    Raises:
        DocumentUnreadable: a document is none, or none of its children has a usable SKU.
    """
    try:
        opened = sorted((open_family_document(*document) for document in documents), key=lambda item: item.file_name)
        key = family_sku or family_key(opened[0].outline(), supplier)
        family = _family(opened, key, price_regions, FamilyReader(languages, scheme))
    except RecursionError:  # the first look at the document found room on the stack, a later one further down did not
        raise too_deep() from None
    return family, tuple(warning for document in opened for warning in _warnings(document, key))


def _family(opened: list[Document], key: str, price_regions: tuple[str, ...], reader: FamilyReader) -> FamilyData:
    chosen = _speaking(opened, key)
    members = _members(chosen)
    ranked = primaries(_defaults(chosen), [member.sku for member in members], price_regions)
    variants = tuple(reader.variant(member) for member in members)
    return reader.family(key, _root_of(chosen, key, ranked[0]).root, variants, ranked)


def _speaking(documents: list[Document], key: str) -> list[Document]:
    """The documents that make up the family: one with children, else one a variant."""
    parents = [document for document in documents if document.children]
    if parents:
        file_name = speaking_document(key, (document.file_name for document in parents))
        chosen = [document for document in parents if document.file_name == file_name][:1]
    else:
        chosen = _one_a_sku(documents)
    for document in documents:
        if not any(document is one for one in chosen):
            document.root.note("Sku", f"{document.sku} of family {key} is in another document already; left out")
    return chosen


def _one_a_sku(documents: list[Document]) -> list[Document]:
    by_sku: dict[str, list[Document]] = {}
    for document in documents:
        by_sku.setdefault(document.sku, []).append(document)
    speaking = {sku: speaking_document(sku, (one.file_name for one in same)) for sku, same in by_sku.items()}
    return [next(one for one in by_sku[sku] if one.file_name == speaking[sku]) for sku in sorted(by_sku)]


def _members(documents: list[Document]) -> list[Member]:
    """The family's variants in the feed's order, each SKU once.

    Raises:
        DocumentUnreadable: no child has a usable SKU.
    """
    if not documents[0].children:
        return [Member(document.sku, document.root, document.root) for document in documents]
    document = documents[0]
    found: dict[str, Member] = {}
    for child in document.children:
        sku = child.read("Sku", key_of)
        if sku is None:
            child.note("Sku", "a child without a usable Sku; left out")
        elif sku in found:
            child.note("Sku", f"{sku} is listed twice; the first one counts")
        else:
            found[sku] = Member(sku, child, document.root)
    if not found:
        count = len(document.children)
        raise DocumentUnreadable(f"{document.sku}: none of its {count} ChildProducts has a usable Sku")
    return list(found.values())


def _defaults(documents: list[Document]) -> dict[str, str]:
    found: dict[str, str] = {}
    for document in reversed(documents):
        found |= default_products(document.root)
    return found


def _root_of(documents: list[Document], key: str, primary: str) -> Document:
    """The document whose own fields are the family's: the family's own, else the primary variant's, else the only."""
    by_sku = {document.sku: document for document in documents}
    return by_sku.get(key) or by_sku.get(primary) or documents[0]


def _warnings(document: Document, key: str) -> list[ReadingWarning]:
    skus = {child.path: _quiet_sku(child) for child in document.children}
    default = document.sku if not document.children else key
    return [
        ReadingWarning(path.lstrip("."), reason, skus.get(_child_path(path)) or default)
        for path, reason in dict.fromkeys(document.notes)
    ]


def _child_path(path: str) -> str:
    return path[: path.find("]") + 1] if path.startswith(".ChildProducts[") else ""


def _quiet_sku(child: Node) -> str | None:
    try:
        return key_of(child.get("Sku"))
    except Unfit:
        return None
