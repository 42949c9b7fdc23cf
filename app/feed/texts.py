"""Names and descriptions by language, as imprint positions, options and costs have them."""

from __future__ import annotations

import msgspec

from app.catalogue.types import Texts
from app.feed.jsontext import decode
from app.feed.node import Memo, Node, Notes, fields_of, is_name
from app.feed.values import Unfit, text_of


class Named(msgspec.Struct, frozen=True):
    """What something is called and how it is described, by language."""

    name: Texts
    description: Texts


class _UsualTexts(msgspec.Struct, rename="pascal"):
    name: str | None = None
    description: str | None = None


_USUAL = msgspec.json.Decoder(dict[str, _UsualTexts | None])


def read_named(node: Node, key: str, memo: Memo) -> Named:
    """The texts under `key`: language to `{"Name", "Description"}`."""
    return memo.read(node.raw(key), node, f".{key}", _named)


def _named(value: object, notes: Notes) -> Named:
    """The usual shape by a typed decode; whatever is unusual field by field, with notes."""
    usual = _usual(value) if isinstance(value, msgspec.Raw) else None
    if usual is not None:
        return usual
    outer = Node(fields_of(decode(value), "", notes), "", notes)
    languages = [(language.strip(), outer.child(language)) for language in sorted(outer.keys())]
    return Named(_texts(languages, "Name"), _texts(languages, "Description"))


def _usual(value: msgspec.Raw) -> Named | None:
    try:
        found = _USUAL.decode(value)
        languages = [(language, texts) for language, texts in sorted(found.items()) if texts]
        if not all(is_name(language) and language == language.strip() for language in found):
            return None
        names = {language: text_of(texts.name) for language, texts in languages}
        descriptions = {language: text_of(texts.description) for language, texts in languages}
    except (msgspec.DecodeError, Unfit):
        return None
    return Named(_present(names), _present(descriptions))


def _texts(languages: list[tuple[str, Node]], key: str) -> Texts:
    return _present({language: node.text(key) for language, node in languages})


def _present(texts: dict[str, str | None]) -> Texts:
    return {language: text for language, text in texts.items() if text}
