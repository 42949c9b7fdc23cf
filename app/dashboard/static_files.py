"""The dashboard's own files: one style sheet, one script. Their addresses change with their bytes."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

from app.api.problems import ProblemError

router = APIRouter(include_in_schema=False)

FOLDER = files("app.dashboard") / "static"
SERVED = {"dashboard.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}


@cache
def _bytes(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


@cache
def fingerprint(name: str) -> str:
    """The file's address below the prefix, which is new when its bytes are."""
    return f"/static/{name}?v={hashlib.sha256(_bytes(name)).hexdigest()[:12]}"


@router.get("/static/{name}")
async def get_static_file(name: str) -> Response:
    """One of the files, to be kept: another version has another address."""
    if name not in SERVED:
        raise ProblemError(404, f"there is nothing at /static/{name[:100]}")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_bytes(name), media_type=SERVED[name], headers=headers)
