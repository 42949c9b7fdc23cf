"""Embedded Valkey: who may come in, and what a restart keeps."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from app.cli.embedded import EmbeddedServer, EmbeddedServerError, start_valkey


def quiet(_: str) -> None:
    """What is said is another test's subject."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    start(tmp_path).stop(discard=True)


def start(folder: Path, **more: Any) -> EmbeddedServer:
    return start_valkey(folder, say=quiet, **more)


async def ask(url: str, *command: str) -> Any:
    async with Redis.from_url(url, decode_responses=True) as client:
        return await client.execute_command(*command)


async def test_it_answers_on_loopback_only_and_not_as_root(data_dir: Path) -> None:
    with start(data_dir) as server:
        assert await ask(server.url, "PING")
        process = psutil.Process(server.pid)
        assert process.uids().real != 0
        assert [one.laddr for one in process.net_connections() if one.status == psutil.CONN_LISTEN] == [
            ("127.0.0.1", server.port)
        ]


async def test_a_caller_without_the_password_is_refused(data_dir: Path) -> None:
    with start(data_dir) as server:
        for other in ("redis://", "redis://:wrong@"):
            with pytest.raises(AuthenticationError):
                await ask(f"{other}127.0.0.1:{server.port}/0", "PING")


async def test_the_password_stands_in_private_files_and_on_no_command_line(data_dir: Path) -> None:
    with start(data_dir) as server:
        secret = urlsplit(server.url).password
        assert secret
        assert secret not in " ".join(psutil.Process(server.pid).cmdline()) + repr(server)
        for name in ("password", "valkey.conf"):
            assert secret in (server.home.path / name).read_text()
            assert stat.S_IMODE((server.home.path / name).stat().st_mode) == 0o600


async def test_a_clean_stop_keeps_the_data(data_dir: Path) -> None:
    with start(data_dir) as first:
        await ask(first.url, "SET", "kept", "42")
    assert not first.running
    with start(data_dir, port=first.port) as second:
        assert second.url == first.url
        assert await ask(second.url, "GET", "kept") == "42"


async def test_a_start_after_kill_9_is_empty_and_works(data_dir: Path) -> None:
    with start(data_dir) as first:
        await ask(first.url, "SET", "lost", "42")
        os.kill(first.pid, signal.SIGKILL)
    with start(data_dir, settings={"maxmemory": "64mb"}) as second:
        assert await ask(second.url, "GET", "lost") is None
        assert await ask(second.url, "CONFIG", "GET", "maxmemory") == ["maxmemory", str(64 * 1024 * 1024)]


async def test_two_starts_on_one_folder_are_told_apart(data_dir: Path) -> None:
    with start(data_dir) as server:
        with pytest.raises(EmbeddedServerError, match="in use by process"):
            start(data_dir)
        assert await ask(server.url, "PING")


async def test_a_setting_that_makes_no_sense_says_what_valkey_said(data_dir: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no-such-thing"):
        start(data_dir, settings={"no-such-thing": "1"})
