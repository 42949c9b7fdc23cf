"""The API's description: `/openapi.json`, and the page at `/docs` to read and try it, without anything from elsewhere.

The files of Swagger UI come from the package fastapi-offline: a service behind a company's ingress has no CDN, and a
page that starts syncs should run nobody else's code.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.responses import HTMLResponse, JSONResponse

from app.api.problems import ProblemError
from app.api.query_names import QueryNames
from app.api.served_files import ServedFile

router = APIRouter(include_in_schema=False)

READING = ["GET", "HEAD"]
NO_NAMES = QueryNames(Dependant())
PACKAGED = files("fastapi_offline") / "static"
OWN = files("app.api") / "pages"
SERVED = {
    "swagger-ui-bundle.js": (PACKAGED, "text/javascript"),
    "swagger-ui.css": (PACKAGED, "text/css"),
    "favicon.png": (PACKAGED, "image/png"),
    "docs.js": (OWN, "text/javascript"),
}
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>promidata-sync</title>
<link rel="icon" href="{root}/docs/favicon.png">
<link rel="stylesheet" href="{root}/docs/{style}">
</head>
<body>
"""
PAGE = """<div id="swagger-ui" data-openapi="{root}/openapi.json"></div>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/docs.js"></script>
</body>
</html>
"""


@router.api_route("/openapi.json", methods=READING)
async def get_description(request: Request) -> JSONResponse:
    """The description; behind a path prefix it says so, for what is tried from it."""
    NO_NAMES.look(request)
    description, root = request.app.openapi(), _root_of(request)
    return JSONResponse({**description, "servers": [{"url": root}]} if root else description)


@router.api_route("/docs", methods=READING)
async def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI on `openapi.json`; a key is given under `Authorize`."""
    NO_NAMES.look(request)
    return page(request, PAGE, style="swagger-ui.css")


@router.api_route("/docs/{name}", methods=READING)
async def get_docs_file(name: str) -> ServedFile:
    """One of the pages' files."""
    if name not in SERVED:
        raise ProblemError(404, f"there is nothing at /docs/{name}")
    folder, media_type = SERVED[name]
    # what is ours changes with a release, together with the page that asks for it
    cache = "no-cache" if folder == OWN else "max-age=86400"
    return ServedFile(str(folder / name), media_type=media_type, headers={"Cache-Control": cache})


def page(request: Request, body: str, *, style: str) -> HTMLResponse:
    """A page with a style sheet of `/docs`; its addresses have the prefix that the caller sees for `{root}`."""
    return HTMLResponse((HEAD + body).replace("{style}", style).replace("{root}", escape(_root_of(request))))


def _root_of(request: Request) -> str:
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/")
