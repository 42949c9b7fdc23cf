"""The page at `/`: where to go from here."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from app.api.docs import READING, page

router = APIRouter()

PAGE = """<h1>promidata-sync</h1>
<p>Keeps a catalogue true to a Promidata feed.</p>
<ul>
<li><a href="{root}/api/v1/runs">Runs</a></li>
<li><a href="{root}/api/v1/queues/stats">Queues</a></li>
<li><a href="{root}/api/v1/products">Products</a></li>
<li><a href="{root}/docs">API documentation</a> (<a href="{root}/openapi.json">openapi.json</a>)</li>
<li><a href="{root}/readyz">Readiness</a></li>
</ul>
</body>
</html>
"""


@router.api_route("/", methods=READING, include_in_schema=False)
async def get_home(request: Request) -> HTMLResponse:
    """A plain page without data, so that it needs no key."""
    return page(request, PAGE, style="home.css")
