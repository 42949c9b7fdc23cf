"""What strangers can do to `promidata-sync api`: a real process, asked over sockets on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from uvicorn.server import ServerState

from app.api.connection_places import places_of
from app.api.limited_http import MAX_AHEAD, MAX_HEADER_FIELDS, WHOLE_REQUEST_WITHIN_S, LimitedHttp
from tests.conftest import MakeStack
from tests.support import api_client, api_process, flooding
from tests.support.command_line import environment_of
from tests.support.forked import start_call, start_command
from tests.support.receiver import free_port
from tests.support.stack import Servers, Stack, open_stack
from tests.support.waiting import eventually

KIB = 1024
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ASK = GET + b"\r\n"
POST = b"POST /api/v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n"
HEALTHY_WITHIN_S = 1.0
PAUSE = b"POST /api/v1/queues/image-upload/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Api:
    """A running service."""

    port: int
    process: psutil.Process
    log: Path

    async def say(self, *parts: bytes, timeout_s: float = 8.0) -> bytes:
        """Everything that is answered until the service closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        try:
            async with asyncio.timeout(timeout_s):
                sending = asyncio.ensure_future(_send(writer, parts))
                while more := await reader.read(64 * KIB):
                    answer += more
                await sending
        finally:
            writer.transport.abort()
        return answer

    async def health_s(self) -> float:
        """Seconds of a processor that the service uses from a new connection's asking for /healthz to its answer.

        Its own time and not the clock's: how long it waits for a processor is up to whatever else runs here.
        """
        before = sum(self.process.cpu_times()[:2])
        answer = await self.say(GET + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        return sum(self.process.cpu_times()[:2]) - before


async def _send(writer: asyncio.StreamWriter, parts: tuple[bytes, ...]) -> None:
    for part in parts:
        writer.write(part)
        await writer.drain()


@asynccontextmanager
async def serving(stack: Stack, folder: Path, open_files: int | None = None, **given: str) -> AsyncIterator[Api]:
    """`promidata-sync api`, with so many descriptors at most."""
    port, log = free_port(), folder / "api.log"
    env = {**environment_of(stack), "PORT": str(port), **given}
    if open_files is None:
        process = start_command(["api"], env, folder, log, log)
    else:
        process = start_call(api_process.__name__, api_process.limited_api.__name__, [str(open_files)], env, log)
    try:
        async with asyncio.timeout(60):
            while not await api_process.listens(port):
                assert process.is_alive(), log.read_text()
                await asyncio.sleep(0.05)
        assert process.pid is not None
        api = Api(port, psutil.Process(process.pid), log)
        await api.health_s()
        yield api
        process.terminate()
        await asyncio.to_thread(process.join, 60)
        assert process.exitcode == 0
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


@pytest.fixture(scope="module")
async def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def api(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    async with serving(stack, tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.mark.parametrize(
    ("parts", "statuses"),
    [
        pytest.param([GET + b"X: " + b"a" * 70 * KIB + b"\r\n\r\n"], [431], id="one long header"),
        pytest.param([GET + b"X-Name: value of it\r\n" * 3700 + b"\r\n"], [431], id="many headers over 64 KiB"),
        pytest.param([GET + b"a:b\r\n" * (MAX_HEADER_FIELDS + 1) + b"\r\n"], [431], id="too many short headers"),
        pytest.param([GET, *[b"k" * 16 * KIB] * 1000], [431], id="an endless key"),
        pytest.param([GET + b"X: ", *[b"v" * 16 * KIB] * 1000], [431], id="an endless value"),
        pytest.param([GET, *[b"X-Name: value of it\r\n" * 100] * 1000], [431], id="endless headers"),
        pytest.param([b"GET /" + b"a" * 70 * KIB + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], [431], id="a long target"),
        pytest.param([*[b"\r\n" * 8 * KIB] * 1000], [431], id="endless empty lines"),
        pytest.param([CHUNKED, b"0\r\n", *[b"t" * 16 * KIB] * 1000], [431], id="an endless trailer"),
        pytest.param([CHUNKED, b"2;x=", *[b"e" * 16 * KIB] * 1000], [431], id="an endless chunk extension"),
        pytest.param([GET + b"X: " + b"a" * 60 * KIB + b"\r\nConnection: close\r\n\r\n"], [200], id="60 KiB are fine"),
        pytest.param([ASK, GET + b"X: " + b"a" * 70 * KIB + b"\r\n\r\n"], [200, 431], id="the second is too long"),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9], [400], id="TLS"),
        pytest.param([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], [400], id="HTTP/2"),
        pytest.param([b"\x00" * 100], [400], id="zeros"),
        pytest.param([b"GET / HTTP/1.1\r\nno colon\r\n\r\n"], [400], id="a header without a colon"),
        pytest.param([b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"], [400], id="CONNECT"),
        pytest.param([b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"], [400], id="a target that is no text"),
        pytest.param(
            [POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], [400], id="two lengths"
        ),
        pytest.param([POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x"], [400], id="lengths that differ"),
        pytest.param([POST + b"Content-Length: -1\r\n\r\n{}"], [400], id="a negative length"),
        pytest.param([CHUNKED, b"zz\r\n"], [400], id="a chunk without a size"),
        pytest.param([ASK, b"nonsense\r\n\r\n"], [200, 400], id="nonsense after an answer"),
        pytest.param([GET + UPGRADE + b"\r\n", b"\x81\x05hello"], [200], id="a WebSocket is not opened"),
        pytest.param([GET + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"], [200], id="nor is HTTP/2"),
        pytest.param([b"GET /healthz HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"], [200], id="HTTP/1.0"),
        pytest.param(
            [POST + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", b"x"],
            [100, 422],
            id="100-continue",
        ),
        pytest.param([POST + b"Content-Length: 2000000\r\nConnection: close\r\n\r\n"], [413], id="a body too long"),
    ],
)
async def test_what_is_no_request_is_answered_once_and_closed(
    api: Api, parts: list[bytes], statuses: list[int]
) -> None:
    first, *rest = parts if statuses[0] == 200 and len(statuses) > 1 else [b"".join(parts)]
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        async with asyncio.timeout(8):
            writer.write(first)
            answer = await reader.read(64 * KIB) if rest else b""
            writer.write(b"".join(rest))
            answer += await reader.read()
    finally:
        writer.transport.abort()
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)] == statuses, answer[:2000]
    if statuses[-1] in {400, 431}:
        assert b"content-type: application/problem+json\r\n" in answer
        assert b"connection: close\r\n" in answer
        assert b"cache-control: no-store\r\n" in answer.lower()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/api/v1/products?q=Größe", "the byte 0xC3"),
        ("/api/v1/products/a\tb", "the byte 0x09"),
        ("api/v1/products", "begins with a slash"),
    ],
)
async def test_an_address_that_is_not_percent_encoded_is_told_so(api: Api, target: str, said: str) -> None:
    """curl sends what it is given; "this is not HTTP that can be read" helped nobody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        async with asyncio.timeout(8):
            writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            problem = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
    finally:
        writer.transport.abort()
    assert problem["status"] == 400
    assert said in problem["detail"]
    assert "percent-encode" in problem["detail"]


@pytest.mark.parametrize(
    ("after", "statuses"),
    [
        pytest.param(b"{}" + GET + b"X: " + b"a" * 70 * KIB + b"\r\n\r\n", [403, 431], id="the next is too long"),
        pytest.param(b"{}nonsense\r\n\r\n", [403, 400], id="nonsense behind the body"),
        pytest.param(b"{}" + GET + b"Connection: close\r\n\r\n", [403, 200], id="the next is fine"),
    ],
)
async def test_a_body_that_comes_after_its_answer_is_in_nobodys_way(
    api: Api, after: bytes, statuses: list[int]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        async with asyncio.timeout(8):
            writer.write(POST + b"Sec-Fetch-Site: cross-site\r\nContent-Length: 2\r\n\r\n")
            answer = await reader.readuntil(b"}")
            writer.write(after)
            answer += await reader.read()
    finally:
        writer.transport.abort()
    assert [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)] == statuses, answer[:2000]


async def test_requests_sent_ahead_are_answered_in_order_but_not_without_bound(api: Api) -> None:
    answered = await api.say(ASK * MAX_AHEAD + GET + b"Connection: close\r\n\r\n")
    assert answered.count(b"HTTP/1.1 200 ") == MAX_AHEAD + 1
    assert b"HTTP/1.1 400 " not in await api.say(ASK * 5_000)


async def test_a_body_without_a_length_ends_with_the_connection_for_http_1_0(api: Api) -> None:
    await api.say(PAUSE)
    asked = b"GET /api/v1/audit HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: application/x-ndjson\r\n"
    head, _, body = (await api.say(asked + b"Connection: keep-alive\r\n\r\n")).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert json.loads(body.splitlines()[0])["action"] == "pauseQueue"
    _, gone = await asyncio.open_connection("127.0.0.1", api.port)
    gone.write(asked + b"\r\n")
    gone.transport.abort()
    head, _, body = (await api.say(asked.replace(b"GET", b"HEAD") + b"\r\n")).partition(b"\r\n\r\n")
    assert (b"transfer-encoding" in head, body) == (False, b"")
    assert b"Traceback" not in api.log.read_bytes()


async def test_nobody_takes_a_body_that_was_cut_off_for_a_whole_one() -> None:
    """One that ends with its connection ends with a reset then."""
    app = FastAPI()

    @app.get("/{whole}")
    async def answer(whole: bool) -> StreamingResponse:
        return StreamingResponse(_pieces(whole=whole))

    async with api_client.serving(app) as url:
        for whole in (True, False):
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
            writer.write(f"GET /{whole} HTTP/1.0\r\n\r\n".encode())
            await reader.readuntil(b"first")
            with nullcontext() if whole else pytest.raises(ConnectionResetError):
                assert await reader.read() == b"last"
            writer.transport.abort()


async def _pieces(*, whole: bool) -> AsyncIterator[bytes]:
    yield b"first"
    if not whole:
        raise OSError("what it is made of went away")
    yield b"last"


async def test_a_refusal_leaves_nothing_in_the_log(api: Api) -> None:
    await api.say(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
    await api.say(CHUNKED, b"zz\r\n")
    assert b"Traceback" not in api.log.read_bytes()
    assert b"Invalid HTTP" not in api.log.read_bytes()


async def test_a_connection_without_a_whole_request_is_closed_after_ten_seconds(api: Api) -> None:
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        lives = [
            group.create_task(_life_s(api, opening, drop))
            for opening, drop in (
                (b"", b""),
                (GET + b"X-Half", b""),
                (GET, b"X: y\r\n"),
                (b"", b"\r\n"),
                (POST + b"Content-Length: 99\r\n\r\n{", b" "),
                (POST + b"Content-Length: 99\r\n\r\n", b""),
                (POST + b"Expect: 100-continue\r\nContent-Length: 99\r\n\r\n", b""),
                (CHUNKED, b"1\r\n \r\n"),
                (ASK + GET, b"X: y\r\n"),
            )
        ]
        worst_s = 0.0
        while not all(life.done() for life in lives):
            worst_s = max(worst_s, await api.health_s())
            await asyncio.sleep(0.1)
            assert time.monotonic() - began < 12 * WHOLE_REQUEST_WITHIN_S
    assert all(life.result() > WHOLE_REQUEST_WITHIN_S / 3 for life in lives)
    assert worst_s < HEALTHY_WITHIN_S
    assert b"Traceback" not in api.log.read_bytes()


async def test_an_idle_connection_is_kept_and_asked_again(api: Api) -> None:
    """For longer than uvicorn's own 5 s, which a caller that asks every few seconds meets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    for rest_s in (6, 0):
        writer.write(ASK)
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}")
        await asyncio.sleep(rest_s)
    writer.transport.abort()


async def test_an_idle_connection_is_closed_when_its_time_is_up(stack: Stack, tmp_path: Path) -> None:
    async with serving(stack, tmp_path, KEEP_ALIVE_S="1") as api:
        assert (await api.say(ASK)).startswith(b"HTTP/1.1 200 ")


async def test_idle_connections_do_not_delay_the_end(stack: Stack, tmp_path: Path) -> None:
    async with serving(stack, tmp_path, KEEP_ALIVE_S="600") as api:
        idle = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(20)]
        for reader, writer in idle:
            writer.write(ASK)
            await reader.readuntil(b"}")
        api.process.terminate()
        await asyncio.to_thread(api.process.wait, 5)
        assert [await reader.read() for reader, _ in idle] == [b""] * 20
        for _, writer in idle:
            writer.transport.abort()


async def _life_s(api: Api, opening: bytes, drop: bytes) -> float:
    """How long a connection lives that says `opening` and then, four times a second, `drop`."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(opening)
    closed = asyncio.ensure_future(reader.read())
    try:
        while not closed.done():
            writer.write(drop)
            await asyncio.wait([closed], timeout=0.25)
        await asyncio.gather(closed, return_exceptions=True)
    finally:
        writer.transport.abort()
    return time.monotonic() - began


@pytest.mark.parametrize("open_files", [None, 1024])
async def test_five_thousand_connections_that_say_nothing_sensible_keep_nobody_out(
    make_stack: MakeStack, tmp_path: Path, open_files: int | None
) -> None:
    async with make_stack() as stack, serving(stack, tmp_path, open_files) as api:
        streams = [await _open_stream(api) for _ in range(50)]
        files, memory = api.process.num_fds(), api.process.memory_info().rss
        async with flooded(api.port, programs=5, connections=1000) as opened:
            worst_s = 0.0
            while not all(number.done() for number in opened):
                worst_s = max(worst_s, await api.health_s())
            for _ in range(30):
                worst_s = max(worst_s, await api.health_s())
                await asyncio.sleep(0.1)
            held = api.process.num_fds()
        assert sum(int(number.result()) for number in opened) > 4000
        assert worst_s < HEALTHY_WITHIN_S
        assert held < (open_files or 1500)
        await eventually(lambda: _holds(api, files + 5))
        assert api.process.memory_info().rss < memory + 64 * KIB * KIB
        await api.say(PAUSE)
        for reader, writer in streams:
            async with asyncio.timeout(10):
                await reader.readuntil(b"event: queue")
            writer.transport.abort()
        assert b"Traceback" not in api.log.read_bytes()


@asynccontextmanager
async def flooded(port: int, *, programs: int, connections: int) -> AsyncIterator[list[asyncio.Future[bytes]]]:
    """So many programs hold so many connections each; gives the numbers that they could open."""
    floods = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", flooding.__file__, str(port), str(connections)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(programs)
    ]
    try:
        yield [asyncio.ensure_future(flood.stdout.readline()) for flood in floods if flood.stdout is not None]
    finally:
        for flood in floods:
            flood.kill()
            await flood.wait()


async def test_calls_beyond_the_limit_are_told_so_and_health_is_answered(make_stack: MakeStack, tmp_path: Path) -> None:
    async with make_stack() as stack, serving(stack, tmp_path, API_MAX_CONNECTIONS="20") as api:
        streams = [await _open_stream(api) for _ in range(18)]
        runs = b"GET /api/v1/runs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        refused = await api.say(runs)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"too many calls at once" in refused
        assert b"retry-after: 1\r\n" in refused
        assert b"cache-control: no-store\r\n" in refused
        idle = [await asyncio.open_connection("127.0.0.1", api.port) for _ in range(5)]
        await api.health_s()
        async with asyncio.timeout(5):
            assert [await reader.read() for reader, _ in idle[:3]] == [b""] * 3, "who waits longest makes room"
        streams[-1][1].transport.abort()
        await eventually(lambda: _is_let_in(api, runs.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))
        for _, writer in streams + idle:
            writer.transport.abort()


async def _is_let_in(api: Api, call: bytes) -> bool:
    return (await api.say(call)).startswith(b"HTTP/1.1 200 ")


def test_uvicorn_by_itself_can_have_the_same_limits() -> None:
    config = uvicorn.Config("app.main:create_app", http="app.api.limited_http:LimitedHttp", limit_concurrency=12)
    config.load()
    assert config.http_protocol_class is LimitedHttp
    assert places_of(ServerState(), config.limit_concurrency).limit == 12


async def _holds(api: Api, files: int) -> bool:
    return api.process.num_fds() <= files


async def _open_stream(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer
