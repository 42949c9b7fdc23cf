"""Addresses that are given out: absolute, and good where the caller stands."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from app.api.schemas import services_of
from app.views.picture_addresses import PictureAddresses, addresses_of, public_base


async def get_picture_addresses(request: Request) -> PictureAddresses:
    """The addresses of stored pictures: the bucket's, or below the service's own for a local store.

    Without PUBLIC_URL as the request (and a trusted proxy) says. A Host header is the caller's own word: whoever keeps
    answers for others to read sets PUBLIC_URL.
    """
    services = services_of(request)
    root: str = request.scope.get("root_path", "")
    base = public_base(services.settings, seen=str(request.base_url).rstrip("/"), prefix=root.rstrip("/"))
    return addresses_of(services.store, base)


PictureAddressesNeeded = Annotated[PictureAddresses, Depends(get_picture_addresses)]
