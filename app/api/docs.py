"""The page at `/docs`: the API's description to read and to try, without anything from another host.

The files of Swagger UI come from the package fastapi-offline: a service behind a company's ingress has no CDN, and a
page that starts syncs should run nobody else's code.
"""

from __future__ import annotations

from html import escape
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from app.api.problems import ProblemError

router = APIRouter(include_in_schema=False)

READING = ["GET", "HEAD"]
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


@router.api_route("/docs", methods=READING)
async def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI on `openapi.json`; a key is given under `Authorize`."""
    return page(request, PAGE, style="swagger-ui.css")


@router.api_route("/docs/{name}", methods=READING)
async def get_docs_file(name: str) -> FileResponse:
    """One of the pages' files."""
    if name not in SERVED:
        raise ProblemError(404, f"there is nothing at /docs/{name}")
    folder, media_type = SERVED[name]
    # what is ours changes with a release, together with the page that asks for it
    cache = "no-cache" if folder == OWN else "max-age=86400"
    return FileResponse(str(folder / name), media_type=media_type, headers={"Cache-Control": cache})


def page(request: Request, body: str, *, style: str) -> HTMLResponse:
    """A page with a style sheet of `/docs`; its addresses have the prefix that the caller sees for `{root}`."""
    root = request.scope.get("root_path", "").rstrip("/")
    return HTMLResponse((HEAD + body).replace("{style}", style).replace("{root}", escape(root)))
