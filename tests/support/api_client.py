"""The real service over HTTP: uvicorn on a free port in this process, and a client for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from app.api.limited_http import LimitedHttp
from app.main import create_app
from app.settings import Settings
from tests.support.plain_http import plain_client

API = "/api/v1"


class _QuietServer(uvicorn.Server):
    """uvicorn without hands on the test process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[str]:
    """The service on a free port of 127.0.0.1; gives its address."""
    async with serving(create_app(settings)) as url:
        yield url


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The same of a service that is made already."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        http=LimitedHttp,
        log_config=None,
        lifespan="on",
        ws="none",
        proxy_headers=False,
    )
    server = _QuietServer(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class ApiClient:
    """Calls of the API, by path below `/api/v1`; a path that begins with `//` is taken from the root."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def call(self, method: str, path: str, expect: int = 200, **options: Any) -> Any:
        """The JSON of an answer, which must have this status."""
        answer = await self.http.request(method, _full(path), **options)
        assert answer.status_code == expect, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    async def get(self, path: str, expect: int = 200, **params: Any) -> Any:
        """GET, with query parameters."""
        return await self.call("GET", path, expect, params=params)

    async def post(self, path: str, body: Any = None, expect: int = 200, **options: Any) -> Any:
        """POST, with a JSON body if there is one."""
        return await self.call("POST", path, expect, **({} if body is None else {"json": body}), **options)

    async def problem(self, method: str, path: str, status: int, **options: Any) -> Any:
        """The problem document of an answer that must be one."""
        answer = await self.http.request(method, _full(path), **options)
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        assert answer.headers["content-type"] == "application/problem+json"
        body = answer.json()
        assert {"type", "title", "status", "detail"} <= body.keys()
        assert body["status"] == status
        return body

    async def all_pages(self, path: str, limit: int = 3, **params: Any) -> list[Any]:
        """The items of every page."""
        items: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.call("GET", path, params={"limit": limit, **params, **cursor})
            assert len(page["items"]) <= limit
            items += page["items"]
            if page["nextCursor"] is None:
                return items
            cursor = {"cursor": page["nextCursor"]}


def _full(path: str) -> str:
    return path[1:] if path.startswith("//") else f"{API}{path}"


@asynccontextmanager
async def api_client(settings: Settings, key: str | None = None) -> AsyncIterator[ApiClient]:
    """The service and a client for it, which sends `key` when there is one."""
    async with serve(settings) as url, api_at(url, key) as client:
        yield client


@asynccontextmanager
async def api_at(url: str, key: str | None = None) -> AsyncIterator[ApiClient]:
    """A client for a service that is there."""
    headers = {} if key is None else {"X-API-Key": key}
    async with plain_client(base_url=url, headers=headers, timeout=30) as http:
        yield ApiClient(http)
