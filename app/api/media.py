"""Pictures of a local store, served as a bucket would: in parts, with an ETag, for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi import Path as PathParameter
from fastapi.responses import Response

from app.api.schemas import ServicesNeeded
from app.api.served_files import ServedFile
from app.errors import NotFound
from app.images.store import CACHE_CONTROL, CONTENT_TYPES
from app.images.store_local import LocalStore

router = APIRouter(tags=["catalogue"])


@router.get(
    "/media/{key:path}",
    operation_id="getPicture",
    summary="A stored picture, when no bucket is set",
    response_class=ServedFile,
    include_in_schema=False,
)
async def get_picture(
    services: ServicesNeeded,
    key: Annotated[str, PathParameter()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes under a key never change, so the key is the ETag."""
    path = services.store.path_of(key) if isinstance(services.store, LocalStore) else None
    if path is None or not await asyncio.to_thread(path.is_file):
        raise NotFound(f"there is no picture {key[:200]}")
    headers = {"ETag": f'"{path.stem}"', "Cache-Control": CACHE_CONTROL}
    if if_none_match is not None and _names(if_none_match, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return ServedFile(path, media_type=CONTENT_TYPES[_extension(path)], headers=headers)


def _names(if_none_match: str, etag: str) -> bool:
    return if_none_match.strip() == "*" or etag in {
        part.strip().removeprefix("W/") for part in if_none_match.split(",")
    }


def _extension(path: Path) -> str:
    return path.suffix.removeprefix(".")
