"""Embedded PostgreSQL: who may come in, what a restart keeps, and what is refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from app.cli.die_with_parent import wrap
from app.cli.embedded import EmbeddedServer, EmbeddedServerError, start_postgres
from app.cli.embedded import server as server_module


def quiet(_: str) -> None:
    """What is said is another test's subject."""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("postgres")
    yield folder
    start(folder).stop(discard=True)


@pytest.fixture
def server(data_dir: Path) -> Iterator[EmbeddedServer]:
    with start(data_dir) as running:
        yield running


def start(folder: Path, **more: Any) -> EmbeddedServer:
    return start_postgres(folder, say=quiet, durable=False, **more)


async def ask(server: EmbeddedServer, statement: str, **more: Any) -> Any:
    connection = await asyncpg.connect(server.url.replace("+asyncpg", ""), **more)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_the_address_names_a_database_in_utf8_and_utc_that_is_there(server: EmbeddedServer) -> None:
    found = await ask(server, "select concat_ws(' ', current_database(), getdatabaseencoding(), lower('ÄÉ'))")
    assert found == "promidata UTF8 äé"
    assert await ask(server, "show timezone") == "UTC"
    assert await ask(server, "show server_version_num") > "180000"


async def test_it_listens_on_loopback_and_nowhere_else(server: EmbeddedServer) -> None:
    sockets = psutil.Process(server.pid).net_connections("all")
    listening = [one.laddr for one in sockets if one.status == psutil.CONN_LISTEN or one.family == socket.AF_UNIX]
    assert listening == [("127.0.0.1", server.port)]


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_a_caller_without_the_password_is_refused(server: EmbeddedServer, password: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(server, "select 1", password=password)


async def test_the_password_is_stored_as_scram_and_never_shown(server: EmbeddedServer) -> None:
    secret = urlsplit(server.url).password
    assert secret
    kept = server.home.path / "password"
    assert kept.read_text().strip() == secret
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.home.path.stat().st_mode) == 0o700
    assert secret not in " ".join(psutil.Process(server.pid).cmdline()) + repr(server)
    assert str(await ask(server, "select rolpassword from pg_authid where rolcanlogin")).startswith("SCRAM-SHA-256$")


async def test_the_server_does_not_run_as_root(server: EmbeddedServer) -> None:
    assert psutil.Process(server.pid).uids().real != 0
    assert server.home.path.stat().st_uid == psutil.Process(server.pid).uids().real


async def test_a_start_on_the_same_folder_finds_the_data_and_the_password(data_dir: Path) -> None:
    with start(data_dir) as first:
        await ask(first, "create table kept as select 42 as answer")
    assert not first.running
    with start(data_dir) as second:
        assert await ask(second, "select answer from kept") == 42
        assert urlsplit(second.url).password == urlsplit(first.url).password


async def test_a_start_after_kill_9_recovers(data_dir: Path) -> None:
    with start(data_dir, settings={"fsync": "on", "synchronous_commit": "on"}) as first:
        await ask(first, "create table survived as select 1 as answer")
        os.kill(first.pid, signal.SIGKILL)
    with start(data_dir) as second:
        assert await ask(second, "select answer from survived") == 1


def test_a_left_over_pid_that_is_now_another_programs_is_no_obstacle(data_dir: Path) -> None:
    with start(data_dir) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.process.wait()
    status = first.home.path / "data/postmaster.pid"
    with subprocess.Popen(wrap(["sleep", "60"], signum=signal.SIGKILL, uid=first.home.uid)) as other:
        _, *rest = status.read_text().splitlines()
        status.write_text("\n".join([str(other.pid), *rest]) + "\n")
        with start(data_dir) as second:
            assert second.running
        other.kill()


async def test_two_starts_on_one_folder_are_told_apart(server: EmbeddedServer, data_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match=rf"in use by process {os.getpid()}.*DATA_DIR"):
        start(data_dir)
    assert await ask(server, "select 1") == 1


async def test_a_port_that_somebody_took_meanwhile_is_replaced(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = server_module.free_port()
        offers = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(server_module, "free_port", lambda: next(offers))
        with start(data_dir) as running:
            assert running.port == free
            assert await ask(running, "select 1") == 1


async def test_a_port_that_was_asked_for_is_not_replaced(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(EmbeddedServerError, match="in use"):
        start(data_dir, port=taken.getsockname()[1])
    port = server_module.free_port()
    with start(data_dir, port=port) as running:
        assert running.port == port


async def test_settings_of_the_caller_win_over_ours(data_dir: Path) -> None:
    with start(data_dir, settings={"commit_delay": "2000", "fsync": "on"}) as running:
        assert await ask(running, "show commit_delay") == "2000"
        assert await ask(running, "show fsync") == "on"


async def test_a_setting_that_makes_no_sense_says_what_postgres_said(data_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match='unrecognized configuration parameter "no_such_thing"'):
        start(data_dir, settings={"no_such_thing": "1"})


async def test_a_connected_client_does_not_hold_up_the_stop(data_dir: Path) -> None:
    running = start(data_dir)
    connection = await asyncpg.connect(running.url.replace("+asyncpg", ""))
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    async with asyncio.timeout(5):
        await asyncio.to_thread(running.stop)
    assert not any(process.is_running() for process in family)
    connection.terminate()
    running.stop()


async def test_a_start_away_from_the_main_thread_is_refused(data_dir: Path) -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            start(data_dir)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


async def test_version_16_durably_and_after_a_start_that_broke_off(tmp_path: Path) -> None:
    first = start_postgres(tmp_path, say=quiet, version=16)
    first.stop()
    shutil.rmtree(first.home.path / "data")
    left = first.home.nursery / f"{first.home.path.parent.name}-postgres-16-new-left"
    (left / "data").mkdir(parents=True)
    second = start_postgres(tmp_path, say=quiet, version=16)
    try:
        assert not left.exists()
        assert "160000" < await ask(second, "show server_version_num") < "170000"
        assert await ask(second, "show fsync") == "on"
        assert await ask(second, "select lower('ÄÉ')") == "äé"
    finally:
        second.stop(discard=True)
    assert not second.home.path.exists()
    assert not list(second.home.nursery.glob(f"{first.home.path.parent.name}*"))
