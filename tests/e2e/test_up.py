"""`promidata-sync up` as a newcomer meets it: from the first start to Ctrl-C, and what happens when parts of it die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest

from app.cli.main import main
from app.cli.programs import find_feed, listen_for_api
from app.cli.up_file import RunningUp, UpError
from app.persistence.product_lists import count_catalogue
from app.settings import Settings
from tests.support.command_line import OURS, command, environment, environment_of, start
from tests.support.plain_http import plain_client
from tests.support.processes import still_there
from tests.support.stack import Stack
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
SERVING = "serving; Ctrl-C stops everything"
IN_A_TERMINAL = """
import fcntl, sys, termios
from app.cli.main import main

fcntl.ioctl(0, termios.TIOCSCTTY, 0)
sys.exit(main(["up", "--port", "0"]))
"""


class RunningCommand:
    """An `up` that runs, with what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.pauses_s: list[float] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        last = time.monotonic()
        async for line in self.process.stdout:
            now = time.monotonic()
            self.pauses_s.append(now - last)
            last = now
            self.lines.append(line.decode().rstrip())

    async def until(self, text: str, *, times: int = 1, timeout_s: float = 90.0) -> None:
        """Wait for so many lines with `text`."""
        deadline = time.monotonic() + timeout_s
        while sum(text in line for line in self.lines) < times:
            assert self.process.returncode is None, await self.everything()
            assert time.monotonic() < deadline, "\n".join(self.lines)
            await asyncio.sleep(0.05)

    async def end(self, timeout_s: float = 30.0) -> int:
        async with asyncio.timeout(timeout_s):
            code = await self.process.wait()
            await self._reading
        return code

    async def everything(self) -> str:
        assert self.process.stderr is not None
        return "\n".join([*self.lines, (await self.process.stderr.read()).decode()])

    @property
    def tree(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def priorities(process: psutil.Process) -> tuple[int, int]:
    """Its own, and its session's as Linux shares processors out between sessions; twice its own on other systems."""
    session = Path(f"/proc/{process.pid}/autogroup")
    own = process.nice()
    return own, int(session.read_text().split()[-1]) if session.exists() else own


def expected_priorities(process: psutil.Process, workers: int) -> tuple[int, int]:
    """A worker's are lower than ours by that much, as far as that goes; another's own is ours, its session's usual."""
    ours = psutil.Process().nice()
    if "worker" in process.cmdline():
        return (min(19, ours + workers),) * 2
    return ours, 0 if Path("/proc/self/autogroup").exists() else ours


@asynccontextmanager
async def running_up(folder: Path, env: dict[str, str], *arguments: str) -> AsyncIterator[RunningCommand]:
    up = RunningCommand(await start(folder, env, "up", "--port", "0", *arguments))
    try:
        yield up
    finally:
        if up.process.returncode is None:
            up.process.kill()
            await up.end()


def announcement(data_dir: Path) -> RunningUp:
    return msgspec.json.decode((data_dir / "up.json").read_bytes(), type=RunningUp)


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def named(processes: list[psutil.Process], *words: str) -> psutil.Process:
    (found,) = [one for one in processes if all(word in " ".join(one.cmdline()) for word in words)]
    return found


async def test_a_newcomers_first_command_syncs_the_sample_feed_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    env = environment(ACCESS_LOG="true")
    data_dir = tmp_path / ".data"
    async with running_up(tmp_path, env) as up:
        await up.until(SERVING)
        tree = up.tree
        assert len(tree) >= 7, "PostgreSQL, Valkey, sample feed, API, three workers"
        # a line every two seconds (tests/unit/test_cli_telling.py), and no step without; how late one may come is the
        # machine's business, which makes all of them late
        assert max(up.pauses_s[1:-1]) < max(10.0, sum(up.pauses_s) / 2)
        said = "\n".join(up.lines)
        for supplier in ("A23", "A360", "A461"):
            assert f"{supplier}: completed, documents 26/26, families 22/22, pictures 270/270" in said
        assert "in the catalogue: 66 families, 369 variants, 768 pictures" in said
        assert "ready in " in said
        assert "synced 3 suppliers in " in said

        running = announcement(data_dir)
        async with plain_client(base_url=running.api_url) as api:
            answers = [await api.get(path) for path in ("/readyz", "/docs", "/", "/api/v1/products?limit=1")]
            runs = (await api.get("/api/v1/runs")).json()["items"]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 200]

        second, listed, doctor = await asyncio.gather(
            command(tmp_path, env, "up", "--port", "0"),
            command(tmp_path, env, "runs", "--json"),
            command(tmp_path, env, "doctor", "--json"),
        )
        assert second.code == 1
        assert f"process {up.process.pid}" in second.err
        assert "another DATA_DIR" in second.err
        assert {run["id"] for run in listed.json} == {run["id"] for run in runs}
        assert doctor.json["ok"] is True, doctor
        shown = await asyncio.create_subprocess_exec(
            sys.executable, ROOT / "scripts/queue_sync.py", "--url", running.api_url, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await shown.communicate()
        assert shown.returncode == 0, out
        assert b"image-upload: waiting 0, active 0, delayed 0, completed 810, failed 0" in out

        up.process.send_signal(signal.SIGINT)
        assert await up.end() == 0, await up.everything()
    assert still_there(tree) == []
    logged = {log.name: log.read_text().splitlines() for log in (data_dir / "logs").iterdir()}
    assert {"api.log", "sample-feed.log", "worker-image.log"} <= logged.keys()
    assert [line for lines in logged.values() for line in lines if not json.loads(line)["level"]] == []
    assert all(logged.values())
    assert not (data_dir / "up.json").exists()
    assert entries(tmp_path) == {".data"}, "nothing is written anywhere else"
    written = [path for path in data_dir.rglob("*") if not any(part.startswith("programs-") for part in path.parts)]
    assert {"api.log", "sample-feed.json", "media"} <= {path.name for path in written}
    assert [path for path in written if path.lstat().st_mode & 0o077] == [], "nobody else reads or enters"
    assert data_dir.stat().st_mode & 0o066 == 0


async def test_a_feed_of_ones_own_is_read_and_nothing_fetched_before_somebody_says_so(
    stack: Stack, tmp_path: Path
) -> None:
    """On servers of one's own, too."""
    env = environment_of(stack) | {"HOST": "127.0.0.1", "SHUTDOWN_GRACE_S": "5"}
    env |= {"WORKERS_FAMILIES": "1", "WORKERS_IMAGES": "2", "WORKERS_NICE": "7"}
    async with running_up(tmp_path, env) as up:
        await up.until(SERVING)
        said = "\n".join(up.lines)
        assert "nothing is synced yet" in said
        assert f"    DATA_DIR={stack.settings.data_dir} promidata-sync sync A23 --watch" in said
        assert "7c1f6a52" not in said, "the feed's address is a credential"
        assert "starting API and workers (1 supplier, 1 family, 2 image)" in said
        assert len(up.tree) == 5, "API and workers"
        for process in up.tree:
            assert priorities(process) == expected_priorities(process, 7), process.cmdline()
        assert stack.server.log.counts.get("document", 0) == 0

        beside = environment(DATA_DIR=str(stack.settings.data_dir))
        synced = await command(tmp_path, beside, "sync", "A23", "--watch")
        assert synced.code == 0, synced
        async with stack.services.database.read() as db:
            assert (await count_catalogue(db)).families == 4

        tree = up.tree
        up.process.send_signal(signal.SIGTERM)
        assert await up.end() == 0, await up.everything()
    assert still_there(tree) == []


async def test_a_feed_that_cannot_be_read_is_said_and_the_rest_serves(stack: Stack, tmp_path: Path) -> None:
    env = environment_of(stack) | {"WORKERS_IMAGES": "1"}
    async with running_up(tmp_path, env | {"PROMIDATA_BASE_URL": env["PROMIDATA_BASE_URL"] + "x"}) as up:
        await up.until(SERVING)
        up.process.send_signal(signal.SIGTERM)
        await up.end()
        assert "the first sync did not come about" in await up.everything()


async def test_a_closed_terminal_ends_it_in_order_and_its_passwords_go(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IN_A_TERMINAL, env=environment(DEMO="0", WORKERS_IMAGES="1"), cwd=tmp_path,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    announced = tmp_path / ".data" / "up.json"
    try:
        await eventually(lambda: asyncio.to_thread(announced.exists), timeout_s=90)
        tree = psutil.Process(process.pid).children(recursive=True)
        os.close(ours)
        async with asyncio.timeout(30):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert still_there(tree) == []
    assert not announced.exists()
    assert "worker stopped" in (tmp_path / ".data" / "logs" / "worker-image.log").read_text(), "it was asked to"


@pytest.mark.chaos
async def test_what_dies_comes_back_and_a_killed_up_takes_everything_with_it(tmp_path: Path) -> None:
    env = environment(DEMO="0", WORKERS_IMAGES="1")
    data_dir = tmp_path / ".data"
    async with running_up(tmp_path, env) as up:
        await up.until(SERVING)
        assert not any("discovered" in line for line in up.lines), "DEMO=0 leaves that to the caller"
        running = announcement(data_dir)
        tree = up.tree
        for victim in [named(tree, *words) for words in (("valkey-server",), ("worker", "image"), ("postgres", "-D"))]:
            victim.kill()
        await up.until("Valkey is back")
        await up.until("PostgreSQL is back")
        await up.until("worker-image ended (signal 9")
        async with plain_client(base_url=running.api_url) as api:

            async def workers() -> set[str]:
                answer = await api.get("/api/v1/workers")
                return {one["queueName"] for one in answer.json()["items"]} if answer.is_success else set()

            deadline = time.monotonic() + 20
            while await workers() != {"supplier-sync", "product-family", "image-upload"}:
                assert time.monotonic() < deadline, up.lines
                await asyncio.sleep(0.1)

        tree = up.tree
        os.kill(up.process.pid, signal.SIGKILL)
        await up.end()
        assert still_there(tree) == []
        assert (data_dir / "up.json").exists()

    async with running_up(tmp_path, env) as again:
        await again.until(SERVING)
        assert announcement(data_dir).base_url == running.base_url, "the sample feed keeps its address"
        again.process.send_signal(signal.SIGTERM)
        again.process.send_signal(signal.SIGTERM)
        assert await again.end() == 0


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """This process in a folder of its own, without any setting."""
    for name in OURS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_an_open_door_is_refused_before_anything_starts(
    bare: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bare.setenv("HOST", "0.0.0.0")
    assert main(["up"]) == 1
    assert "set API_KEYS=name:role:secret, or HOST=127.0.0.1" in capsys.readouterr().err
    assert entries(tmp_path) == set()


@pytest.mark.usefixtures("bare")
def test_a_port_that_is_taken_is_one_clear_message(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["up", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--port N" in said


def test_a_port_that_nobody_asked_for_gives_way_to_a_free_one(bare: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        unasked = Settings.model_construct(_fields_set=set(), **{**Settings().model_dump(), "port": port})
        with listen_for_api(unasked, None) as door:
            assert door.getsockname()[1] not in {0, port}
        bare.setenv("PORT", str(port))
        with pytest.raises(UpError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen_for_api(Settings(), None)


@pytest.mark.usefixtures("bare")
def test_the_sample_feed_keeps_its_port_while_that_is_free(tmp_path: Path) -> None:
    settings = Settings().model_copy(update={"data_dir": tmp_path})
    first, again = find_feed(settings), find_feed(settings)
    assert first == again
    assert first.port is not None
    with socket.create_server(("127.0.0.1", first.port)):
        assert find_feed(settings) != first
    (tmp_path / "sample-feed.json").write_text("{garbled")
    assert find_feed(settings).port is not None


async def test_the_api_ends_with_0_within_its_grace_period_although_connections_are_open(
    stack: Stack, tmp_path: Path
) -> None:
    env = environment_of(stack) | {"PORT": "0", "SHUTDOWN_GRACE_S": "3"}
    process = await start(tmp_path, env, "api")
    assert process.stdout is not None
    address = (await process.stdout.readline()).decode().removeprefix("API: http://").strip()
    host, _, port = address.rpartition(":")
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
    for _, writer in connections:
        writer.write(b"POST /api/v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.sleep(0.5)
    began = time.monotonic()
    process.terminate()
    assert await process.wait() == 0
    assert time.monotonic() - began < 60  # the grace period is 3 s, and the callers never end
    for _, writer in connections:
        writer.close()
