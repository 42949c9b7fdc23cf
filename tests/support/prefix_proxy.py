"""A reverse proxy that serves what is behind it under a path prefix, as an ingress does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import ClientSession, DummyCookieJar, web
from yarl import URL

OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}


@dataclass
class PrefixProxy:
    """Where it is, and what it was asked for outside of its prefix."""

    origin: str
    prefix: str
    outside: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """The address of what is behind it, as visitors know it."""
        return self.origin + self.prefix


@asynccontextmanager
async def prefix_proxy(
    upstream: str, prefix: str, *, strips: bool, tells: bool, more: Mapping[str, str] | None = None
) -> AsyncIterator[PrefixProxy]:
    """Serve `upstream` under `prefix`, which it takes off the path (`strips`) and says in a header (`tells`).

    `Host` is the upstream's own, as nginx sends it where nobody says otherwise; `more` are headers that it adds.
    """
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as client:
        proxy = PrefixProxy("", prefix)

        async def relay(request: web.Request) -> web.StreamResponse:
            path = request.raw_path
            if not (path == prefix or path.startswith((f"{prefix}/", f"{prefix}?"))):
                proxy.outside.append(path)
                return web.Response(status=404)
            target = URL(upstream + (path.removeprefix(prefix) if strips else path), encoded=True)
            headers = {
                **{name: value for name, value in request.headers.items() if name.lower() not in {*OF_ONE_HOP, "host"}},
                "X-Forwarded-For": request.remote or "",
                "X-Forwarded-Proto": request.scheme,
                "X-Forwarded-Host": request.host,
                **({"X-Forwarded-Prefix": prefix} if tells else {}),
                **(more or {}),
            }
            body = await request.read()
            async with client.request(
                request.method, target, headers=headers, data=body or None, allow_redirects=False
            ) as answer:
                kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in OF_ONE_HOP]
                return web.Response(status=answer.status, headers=dict(kept), body=await answer.read())

        server = web.Application()
        server.router.add_route("*", "/{path:.*}", relay)
        runner = web.AppRunner(server, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            host, port = runner.addresses[0][:2]
            proxy.origin = f"http://{host}:{port}"
            yield proxy
        finally:
            await runner.cleanup()
