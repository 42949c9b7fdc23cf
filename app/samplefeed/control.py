"""The control endpoints: the switches of a feed that is served by another process, as JSON under `/_control/`.

GET    /_control                the feed's addresses, suppliers and number of documents
GET    /_control/requests       counts, most at once, and the requests (`?kind=picture` for one kind)
DELETE /_control/requests       forget them
GET    /_control/faults         the faults with how often each answered
POST   /_control/faults         {"pattern", "action", ...}: one more (fields of `Fault`; `body` is text)
DELETE /_control/faults         none any more
POST   /_control/habits         {"latency_s", "validators", "gzip"}: any of them
POST   /_control/changes        {"change": "change_price", "sku": "A23-100000", ...}: a method of `SampleFeed`
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

import orjson
from aiohttp import web

from app.samplefeed.delivery import Habits
from app.samplefeed.faults import FaultTable
from app.samplefeed.feed import SampleFeed
from app.samplefeed.request_log import RequestLog

Json = dict[str, Any]

CONTROL_PATH = "/_control"
CHANGES = (
    "change_price",
    "rename",
    "keep_variants",
    "remove_variant",
    "add_variant",
    "swap_picture",
    "revert",
    "rehash",
    "set_hash",
    "add_family",
    "remove_family",
    "hide_family",
    "restore_family",
    "hide_supplier",
    "style_manifest",
    "set_document",
    "set_manifest",
    "set_picture",
    "set_categories",
)
BYTES_ARGUMENTS = ("body", "raw")


class Control:
    """Answers control requests for one server."""

    def __init__(self, feed: SampleFeed, faults: FaultTable, log: RequestLog, habits: Habits) -> None:
        self._feed = feed
        self._faults = faults
        self._log = log
        self._habits = habits
        self._operations: dict[tuple[str, str], Callable[[web.BaseRequest], Awaitable[Json]]] = {
            ("GET", ""): self._describe,
            ("GET", "/requests"): self._requests,
            ("DELETE", "/requests"): self._forget_requests,
            ("GET", "/faults"): self._list_faults,
            ("POST", "/faults"): self._add_fault,
            ("DELETE", "/faults"): self._clear_faults,
            ("POST", "/habits"): self._set_habits,
            ("POST", "/changes"): self._change,
        }

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a control request: 200, 404 for what is unknown, 400 for what makes no sense."""
        operation = self._operations.get((request.method, request.path.removeprefix(CONTROL_PATH).rstrip("/")))
        if operation is None:
            return _json({"error": "unknown operation"}, 404)
        try:
            return _json(await operation(request))
        except (KeyError, TypeError, ValueError) as error:
            return _json({"error": f"{type(error).__name__}: {error}"}, 400)

    async def _describe(self, _: web.BaseRequest) -> Json:
        return {
            "baseUrl": self._feed.base_url,
            "picturesOrigin": self._feed.pictures_origin,
            "suppliers": self._feed.suppliers(),
            "documents": sum(1 for _ in self._feed.entries()),
        }

    async def _requests(self, request: web.BaseRequest) -> Json:
        kind = request.query.get("kind")
        kept = [asdict(one) for one in self._log.requests if kind in (None, one.kind)]
        return {"counts": self._log.counts, "mostAtOnce": self._log.most_at_once, "requests": kept}

    async def _forget_requests(self, _: web.BaseRequest) -> Json:
        self._log.reset()
        return {}

    async def _list_faults(self, _: web.BaseRequest) -> Json:
        faults = self._faults.all()
        return {"faults": [{"pattern": one.pattern, "action": one.action, "hits": one.hits} for one in faults]}

    async def _add_fault(self, request: web.BaseRequest) -> Json:
        self._faults.add(**_arguments(await request.json()))
        return {}

    async def _clear_faults(self, _: web.BaseRequest) -> Json:
        self._faults.clear()
        return {}

    async def _set_habits(self, request: web.BaseRequest) -> Json:
        for name, value in (await request.json()).items():
            if name not in Habits.__slots__:
                raise KeyError(name)
            setattr(self._habits, name, value)
        return asdict(self._habits)

    async def _change(self, request: web.BaseRequest) -> Json:
        arguments = _arguments(await request.json())
        change = arguments.pop("change")
        if change not in CHANGES:
            raise ValueError(f"{change} is none of {', '.join(CHANGES)}")
        return {"result": getattr(self._feed, change)(**arguments)}


def _arguments(body: Json) -> Json:
    """The arguments; text for bytes is taken as UTF-8, and `bodyBase64` or `rawBase64` as any bytes."""
    arguments = dict(body)
    for name in BYTES_ARGUMENTS:
        if isinstance(arguments.get(name), str):
            arguments[name] = arguments[name].encode()
        if f"{name}Base64" in arguments:
            arguments[name] = base64.b64decode(arguments.pop(f"{name}Base64"), validate=True)
    return arguments


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
