"""Logs of programs that know nothing of them: bounded, whole, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.rotated_log import RotatedLog
from app.cli.supervisor import StopRequest, Supervisor
from app.data_folder import make_data_folder
from tests.support.waiting import eventually

COUNT = "import sys\nfor n in range(int(sys.argv[1])): print(f'line {n} of a program that says much', flush=True)"
LINES = 20_000
MAX_BYTES = 400 * 1024


def test_two_files_hold_what_was_said_last_and_not_a_line_between_them_is_lost(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "api.log", max_bytes=MAX_BYTES)
    with log.writer() as output:
        subprocess.run([sys.executable, "-c", COUNT, str(LINES)], check=True, stdout=output)
    log.close(20)
    before, now = tmp_path / "api.before.log", tmp_path / "api.log"
    assert sorted(tmp_path.iterdir()) == [before, now]
    assert before.stat().st_size <= MAX_BYTES + 100
    assert now.stat().st_size <= MAX_BYTES + 100
    numbers = [int(line.split()[1]) for line in (before.read_text() + now.read_text()).splitlines()]
    assert numbers == list(range(numbers[0], LINES))
    assert len(numbers) > MAX_BYTES // 60


def test_a_start_keeps_the_log_of_the_one_before(tmp_path: Path) -> None:
    for text in ("first", "second"):
        log = RotatedLog(tmp_path / "api.log")
        with log.writer() as output:
            subprocess.run(["/bin/echo", text], check=True, stdout=output)
        log.close()
    assert (tmp_path / "api.before.log").read_text() == "first\n"
    assert (tmp_path / "api.log").read_text() == "second\n"


def test_a_full_disk_does_not_make_a_program_wait(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "api.log", open_file=lambda _: os.open("/dev/full", os.O_WRONLY))
    with log.writer() as output:
        subprocess.run([sys.executable, "-c", COUNT, str(LINES)], check=True, stdout=output, timeout=30)
    log.close()


async def test_a_program_that_is_killed_and_started_again_goes_on_in_the_same_log(tmp_path: Path) -> None:
    supervisor = Supervisor(say=lambda _: None, grace_s=1)
    log = RotatedLog(tmp_path / "api.log")
    supervisor.add("api", ["/bin/sh", "-c", "echo $$ said this; umask >&2; exit 1"], log=log)
    stop = StopRequest()
    running = asyncio.create_task(supervisor.run_until(stop))
    await eventually(lambda: _lines(log.path, 4))
    stop.ask()
    await running
    lines = log.path.read_text().splitlines()
    assert len({line for line in lines if "said this" in line}) >= 2
    assert set(lines[1::2]) == {"0077"}


async def _lines(path: Path, count: int) -> bool:
    return len(path.read_text().splitlines()) >= count  # noqa: ASYNC240 - a few bytes


def test_a_new_data_folder_is_closed_but_for_passing_through_as_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uid, mode in ((0, 0o711), (1000, 0o700)):
        monkeypatch.setattr("os.geteuid", lambda uid=uid: uid)
        folder = tmp_path / str(uid) / "data"
        make_data_folder(folder)
        assert [one.stat().st_mode & 0o777 for one in (folder, folder.parent)] == [mode, mode]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        make_data_folder(tmp_path / "file")
