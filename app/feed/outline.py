"""Just enough of a document to group it: its SKU, its ANumber and its children's SKUs.

    bytes ── msgspec skips all but three keys ──▶ DocumentOutline
       └──── anything unusual ── app.feed.document's own way of reading ──▶ the same

It agrees with `app.feed.document` on which SKUs a document has.
"""

from __future__ import annotations

import msgspec

from app.catalogue.types import DocumentOutline
from app.errors import DocumentUnreadable
from app.feed.jsontext import decode, kind_of, number_from_text, open_document, split_list
from app.feed.node import Node, Notes, fields_of
from app.feed.values import Unfit, key_of, list_of

CHILD_MARKS = frozenset({"Sku", "SupplierSku", "ProductDetails", "NonLanguageDependedProductDetails"})


class _Child(msgspec.Struct):
    sku: object = msgspec.field(name="Sku", default=None)


class _Root(msgspec.Struct):
    sku: object = msgspec.field(name="Sku", default=None)
    a_number: object = msgspec.field(name="ANumber", default=None)
    children: list[_Child] | None = msgspec.field(name="ChildProducts", default=None)


_ROOT = msgspec.json.Decoder(_Root, float_hook=number_from_text)


def read_outline(raw: bytes) -> DocumentOutline:
    """Read what groups a document, skipping the rest.

    Raises:
        DocumentUnreadable: kind `document-cut` when the bytes end early; `document-unreadable` for whole bytes that
            are no document: broken JSON, HTML, not UTF-8, no object, nested too deep, without a usable SKU.
    """
    fields = open_document(raw, _quick_fields)
    notes: Notes = []
    root = Node(fields, "", notes)
    children = [child.read("Sku", key_of) for child in children_of(root)]
    sku = own_sku(root)
    known = tuple(dict.fromkeys(child for child in children if child))
    if children and not known:
        raise DocumentUnreadable(f"{sku}: none of its {len(children)} ChildProducts has a usable Sku")
    return DocumentOutline(sku, root.read("ANumber", key_of), bool(children), known or (sku,))


def _quick_fields(body: bytes) -> dict[str, object]:
    """The three keys; msgspec raises for a child that is no object, and the tolerant way has its turn."""
    root = _ROOT.decode(body)
    children: list[object] = [{"Sku": child.sku} for child in root.children or ()]
    return {"Sku": root.sku, "ANumber": root.a_number, "ChildProducts": children}


def own_sku(root: Node) -> str:
    """The document's SKU.

    Raises:
        DocumentUnreadable: there is none that could be a key.
    """
    try:
        sku = key_of(root.get("Sku"))
    except Unfit as error:
        raise DocumentUnreadable(f"no usable Sku: {error}") from None
    if sku is None:
        raise DocumentUnreadable("no usable Sku: it is absent or empty")
    return sku


def children_of(root: Node) -> list[Node]:
    """The document's children, still unread; empty for a document that is one variant.

    Raises:
        DocumentUnreadable: `ChildProducts` is a text or a number. To take that for "no children" would discontinue
            a whole family on a fault of the feed.
    """
    value = split_list(root.raw("ChildProducts"))
    items = value if isinstance(value, list) else list_of(decode(value), CHILD_MARKS)
    if not isinstance(value, list | dict) and items:
        raise DocumentUnreadable(f"ChildProducts is {kind_of(value)} where a list was expected")
    paths = [f".ChildProducts[{index}]" for index in range(len(items))]
    return [Node(fields_of(item, path, root.notes), path, root.notes) for path, item in zip(paths, items, strict=True)]
