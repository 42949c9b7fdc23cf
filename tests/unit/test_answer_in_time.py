"""What a call is answered when nothing comes, from its caller or from what it needs (app/api/answer_in_time.py)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.api import answer_in_time
from app.api.answer_in_time import AnswerInTime, asks_the_feed, takes_long
from app.signs_of_life import sign_of_life

KINDS = {
    "stands still": (503, "no answer within 0.05 s: a part of ours stands still, /readyz says which, or there"),
    "waits for its body": (408, "the body did not come within 0.05 s"),
    "stands still behind its body": (503, "no answer within 0.05 s: a part of ours stands still"),
    "asks a feed that sends nothing": (503, "nothing came from the feed for 0.05 s: it stands still"),
    "asks a feed that stops in the middle": (503, "nothing came from the feed for 0.05 s: it stands still"),
    "asks a feed that is slow": (200, "done"),
    "asks a feed that never ends": (503, "no answer within 0.4 s: the feed goes on sending, but too slowly"),
    "takes long": (200, "done"),
    "is there at once": (200, "done"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_is_answered_in_time_and_told_who_did_not_speak(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(answer_in_time, "ANSWER_WITHIN_S", 0.05)
    if kind == "asks a feed that never ends":
        monkeypatch.setattr(answer_in_time, "ASKED_WITHIN_S", 0.4)
    at_last = asyncio.Event()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        match kind:
            case "waits for its body":
                await receive()
                await receive()
            case "stands still behind its body":
                await Request(scope, receive).body()
                await at_last.wait()
            case "asks a feed that sends nothing":
                asks_the_feed(Request(scope))
                await at_last.wait()
            case "asks a feed that stops in the middle":
                asks_the_feed(Request(scope))
                await _hear(times=4)
                await at_last.wait()
            case "asks a feed that is slow":
                asks_the_feed(Request(scope))
                await _hear(times=15)
            case "asks a feed that never ends":
                asks_the_feed(Request(scope))
                await _hear(times=1_000)
            case "takes long":
                takes_long(Request(scope))
                await asyncio.sleep(0.2)
            case "stands still":
                await at_last.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def body() -> Any:
        yield b"{"
        if kind == "waits for its body":
            await at_last.wait()

    transport = httpx.ASGITransport(AnswerInTime(endpoint))
    async with asyncio.timeout(5), httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.post("/", content=body())
    status, said = KINDS[kind]
    assert answer.status_code == status
    assert said in answer.text
    assert (answer.headers["content-type"] == "application/problem+json") == (status != 200)


@pytest.mark.parametrize("kind", ["takes long", "is to be in time"])
async def test_a_call_that_the_server_cancels_because_it_is_stopped_is_told_so(kind: str) -> None:
    begun = asyncio.Event()

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        if kind == "takes long":
            takes_long(Request(scope))
        begun.set()
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(AnswerInTime(endpoint)), base_url="http://a") as http:
        asking = asyncio.create_task(http.get("/"))
        await begun.wait()
        await asyncio.sleep(0)
        asking.cancel()
        answer = await asking
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert "is being stopped" in answer.json()["detail"]
    assert int(answer.headers["retry-after"]) > 0


async def _hear(times: int) -> None:
    """Something comes every hundredth of a second."""
    for _ in range(times):
        await asyncio.sleep(0.01)
        sign_of_life()
