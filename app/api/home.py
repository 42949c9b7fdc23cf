"""The page at `/`: where to go from here."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

router = APIRouter()

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>promidata-sync</title>
<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}</style>
<h1>promidata-sync</h1>
<p>Keeps a catalogue true to a Promidata feed.</p>
<ul>
<li><a href="/api/v1/runs">Runs</a></li>
<li><a href="/api/v1/queues/stats">Queues</a></li>
<li><a href="/api/v1/products">Products</a></li>
<li><a href="/docs">API documentation</a> (<a href="/openapi.json">openapi.json</a>)</li>
<li><a href="/readyz">Readiness</a></li>
</ul>
</html>
"""


@router.get("/", include_in_schema=False)
async def get_home() -> HTMLResponse:
    """A plain page without data, so that it needs no key."""
    return HTMLResponse(PAGE)
