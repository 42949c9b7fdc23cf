"""Which addresses a variant shows: its `Image` first, then its `MediaGalleryImages`, each request once.

Languages are looked at in order of preference. The first language's image is the primary one; what another language
shows beside it (an image with a translated print, further gallery pictures) follows in the gallery.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import urlsplit

from app.catalogue.types import PictureData
from app.errors import AddressRefused
from app.feed.details import Languages
from app.feed.manifest import request_url
from app.feed.node import Node
from app.feed.values import Unfit, has_endless_host, list_of, only_text_of, without_edges
from app.outbound.urls import parse_address

URL_MAX_CHARS = 2000
HTTPS = "https"
_IMAGE_MARKS = frozenset({"Url", "Description", "FileName"})
_PLAIN = re.compile(r"https?://[a-z0-9-]+(?:\.[a-z0-9-]+)*/[A-Za-z0-9/._~-]*(?:\?[A-Za-z0-9=&._-]+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def read_pictures(languages: Languages, scheme: str) -> tuple[PictureData, ...]:
    """The pictures of one root or child, in the order in which they are shown; `scheme` is its document's."""
    images: list[str] = []
    gallery: list[str] = []
    for _, details in languages.details:
        image = list(addresses(details, "Image", scheme))
        images += image[:1]
        gallery += [*image, *addresses(details, "MediaGalleryImages", scheme)]
    urls = each_once([*images[:1], *gallery])
    roles = ["primary" if images else "gallery"] + ["gallery"] * len(urls)
    return tuple(
        PictureData("primary" if role == "primary" else "gallery", position, url)
        for position, (role, url) in enumerate(zip(roles, urls, strict=False))
    )


def each_once(urls: Iterable[str]) -> list[str]:
    """The addresses that are asked for by different requests, each as it is written first.

    >>> each_once(["https://host/x y.png", "https://host/x%20y.png"])
    ['https://host/x y.png']
    """
    found: dict[str, str] = {}
    for url in urls:
        found.setdefault(_request(url), url)
    return list(found.values())


def addresses(node: Node, key: str, scheme: str = HTTPS) -> Iterator[str]:
    """The addresses in a picture, a list of pictures or of plain addresses; those that are none are noted."""
    for index, item in enumerate(list_of(node.get(key), _IMAGE_MARKS)):
        try:
            url = address_of(item.get("Url") if isinstance(item, dict) else item, scheme)
        except Unfit as error:
            step = f"{key}[{index}]" if isinstance(node.get(key), list) else key
            node.note(f"{step}.Url" if isinstance(item, dict) else step, str(error))
            continue
        if url:
            yield url


def address_of(value: object, scheme: str = HTTPS) -> str | None:
    """An address that a picture may be fetched from, as far as its form tells; `//host/p.png` is one of `scheme`."""
    url = without_edges(only_text_of(value) or "")
    if not url:
        return None
    if url.startswith("//"):
        url = f"{scheme}:{url}"
    if len(url) > URL_MAX_CHARS:
        raise Unfit(f"an address of {len(url)} characters")
    if not _is_web_address(url):
        raise Unfit(f"{url[:80]!r} is not an http(s) address")
    return url


@lru_cache(maxsize=1024)
def _request(url: str) -> str:
    """What is asked for at an address; of a plain one, as nearly all are, it is the address itself."""
    if _PLAIN.fullmatch(url):
        return url
    try:
        return str(parse_address(request_url(url)))
    except AddressRefused:
        return url


@lru_cache(maxsize=1024)
def _is_web_address(url: str) -> bool:
    if _CONTROL.search(url) or has_endless_host(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False
