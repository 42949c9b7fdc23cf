"""Addresses that are given out: absolute, and good where the caller stands."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from app.api.schemas import services_of
from app.settings import Settings
from app.views.picture_addresses import PictureAddresses, addresses_of


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


async def get_picture_addresses(request: Request) -> PictureAddresses:
    """The addresses of stored pictures: the bucket's, or below the service's own for a local store."""
    return addresses_of(services_of(request).store, public_base(request))


PictureAddressesNeeded = Annotated[PictureAddresses, Depends(get_picture_addresses)]
