"""Addresses that are given out: absolute, and good where the caller stands."""

from __future__ import annotations

import time
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from app.api.schemas import get_services
from app.images.store import PRESIGNED_S, media_key
from app.settings import Settings
from app.views.picture_addresses import PictureAddresses

A_KEY = media_key("0" * 64, "jpg")
RENEWED_S = PRESIGNED_S // 2
"""Presigned addresses are given out anew that often, in seconds; one that a 304 lets stand is good as long."""


def public_base(request: Request) -> str:
    """The address that the service is reached at, without a slash at its end.

    PUBLIC_URL, as it is or, where it names no path, with the prefix; without it what the request (and a trusted proxy)
    says. A Host header is the caller's own word: whoever keeps answers for others to read sets PUBLIC_URL.
    """
    settings: Settings = request.app.state.settings
    if settings.public_url is None:
        return str(request.base_url).rstrip("/")
    if urlsplit(settings.public_url).path:
        return settings.public_url
    root: str = request.scope.get("root_path", "")
    return settings.public_url + root.rstrip("/")


def get_picture_addresses(request: Request) -> PictureAddresses:
    """The addresses of stored pictures: the bucket's, or below the service's own for a local store."""
    store = get_services(request).store
    base = public_base(request)

    def address(key: str) -> str:
        known = store.public_url(key)
        return base + known if known.startswith("/") else known

    before, key, after = address(A_KEY).partition(A_KEY)
    if key and not after:
        return PictureAddresses(address, before, before)
    return PictureAddresses(address, None, f"{before} presigned {int(time.time()) // RENEWED_S}")


PictureAddressesNeeded = Annotated[PictureAddresses, Depends(get_picture_addresses)]
