"""What is decided about a variant before any of it is written: colour, size, price, pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.samplefeed.pictures import PICTURES_AT, picture_path
from app.samplefeed.plans import DocumentPlan
from app.samplefeed.seeded import stream
from app.samplefeed.spec import FeedSpec
from app.samplefeed.words import ARTICLES, COLOURS, MODELS, SIZES, Article, Colour

Json = dict[str, Any]

PICTURE_LETTERS = "BSDFGHKLMN"


@dataclass(frozen=True, slots=True)
class FamilyTraits:
    """What all variants of a family have in common."""

    article: Article
    model: str
    price_cents: int
    """The selling price of one piece in the first region."""

    def name(self, language: str) -> str:
        """The family's name in a language."""
        return f"{self.article.names[language]} {self.model}"


@dataclass(frozen=True, slots=True)
class VariantTraits:
    """One variant: its number, what tells it from its siblings, and its pictures' paths, the primary first."""

    number: str
    colour: Colour
    size: str | None
    ordinal: int
    pictures: tuple[str, ...]


def family_traits(spec: FeedSpec, plan: DocumentPlan) -> FamilyTraits:
    """What the family of a plan is."""
    dice = stream(spec.seed, plan.supplier.code, plan.family, "family")
    article = ARTICLES[plan.family % len(ARTICLES)]
    return FamilyTraits(article, f"{dice.choice(MODELS)} {plan.family_number}", dice.randint(89, 4999))


def variant_traits(spec: FeedSpec, plan: DocumentPlan, variant: int) -> VariantTraits:
    """What a variant of a plan's family is."""
    ordinal = variant - 1
    sized = ARTICLES[plan.family % len(ARTICLES)].sized
    colour = COLOURS[(plan.family + (ordinal // len(SIZES) if sized else ordinal)) % len(COLOURS)]
    size = SIZES[ordinal % len(SIZES)] if sized else None
    return VariantTraits(plan.variant_number(variant), colour, size, ordinal, _pictures(spec, plan, variant))


def root_picture(spec: FeedSpec, plan: DocumentPlan) -> str:
    """The picture at the family's root: its first variant's primary."""
    return _path(spec, plan, f"{plan.family}-{plan.variants[0]}-0")


def picture_entry(path: str, number: str, index: int, language: str) -> Json:
    """A picture as a document lists it: the same address in each language, under another file name."""
    name = path.rpartition("/")[2]
    letter = PICTURE_LETTERS[index % len(PICTURE_LETTERS)]
    file_name = f"{number}__{letter}_{index + 1}_{language}__{name[:32]}{name[40:]}"
    return {"Url": PICTURES_AT + path, "Description": "", "FileName": file_name}


def _pictures(spec: FeedSpec, plan: DocumentPlan, variant: int) -> tuple[str, ...]:
    """The first is the variant's own; with oddities the last is the family's, a copy of it, or the supplier's.

    The last variant of every fifth family has none, and shows the root's.
    """
    own = [_path(spec, plan, f"{plan.family}-{variant}-{index}") for index in range(spec.pictures)]
    if not spec.oddities:
        return tuple(own)
    if plan.family % 5 == 1 and variant > 1 and variant == plan.variants[-1]:
        return ()
    if len(own) > 1:
        own[-1] = _shared(spec, plan, variant)
    return tuple(own)


def _shared(spec: FeedSpec, plan: DocumentPlan, variant: int) -> str:
    if plan.family % 7 == 4:
        return _path(spec, plan, "size chart")
    copy = variant if plan.family % 7 == 2 else 0
    return _path(spec, plan, f"{plan.family}-shared", copy)


def _path(spec: FeedSpec, plan: DocumentPlan, key: str, copy: int = 0) -> str:
    return picture_path(spec.seed, plan.supplier.code, key, copy)
