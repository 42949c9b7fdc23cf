"""The page at `/docs`: the API's description to read and to try, without anything from another host.

The files of Swagger UI come from the package fastapi-offline: a service behind a company's ingress has no CDN, and a
page that starts syncs should run nobody else's code.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from app.api.problems import ProblemError

router = APIRouter(include_in_schema=False)

PACKAGED = files("fastapi_offline") / "static"
SERVED = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/docs")
async def get_docs(request: Request) -> HTMLResponse:
    """Swagger UI on `openapi.json`; a key is given under `Authorize`."""
    root = request.scope.get("root_path", "").rstrip("/")
    return get_swagger_ui_html(
        openapi_url=f"{root}/openapi.json",
        title="promidata-sync",
        swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
        swagger_css_url=f"{root}/docs/swagger-ui.css",
        swagger_favicon_url=f"{root}/docs/favicon.png",
    )


@router.get("/docs/{name}")
async def get_docs_file(name: str) -> FileResponse:
    """One of the page's files."""
    if name not in SERVED:
        raise ProblemError(404, f"there is nothing at /docs/{name}")
    return FileResponse(str(PACKAGED / name), media_type=SERVED[name], headers={"Cache-Control": "max-age=86400"})
