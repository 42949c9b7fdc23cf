"""The supervisor of `up`: what it starts again, and that nothing is left when it ends, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from app.cli.die_with_parent import wrap
from app.cli.supervisor import StopRequest, Supervisor, next_pause_s
from tests.support.processes import still_there

SHELL = "/bin/sh"
OBEDIENT = [SHELL, "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"]
STUBBORN = [SHELL, "-c", "trap '' TERM; while :; do sleep 0.05; done"]
WITH_A_CHILD = [SHELL, "-c", "sleep 600 & wait"]


@pytest.mark.parametrize(
    ("previous_s", "ran_s", "pause_s"),
    [
        (None, 0.1, 0.5),
        (0.5, 0.1, 1.0),
        (1.0, 59.9, 2.0),
        (2.0, 3.0, 4.0),
        (4.0, 3.0, 5.0),
        (5.0, 3.0, 5.0),
        (5.0, 60.0, 0.5),
    ],
)
def test_the_pause_doubles_up_to_five_seconds_and_begins_anew_after_a_healthy_minute(
    previous_s: float | None, ran_s: float, pause_s: float
) -> None:
    assert next_pause_s(previous_s, ran_s) == pause_s


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.01)


@asynccontextmanager
async def supervised(supervisor: Supervisor, *names: str) -> AsyncIterator[tuple[StopRequest, asyncio.Task[None]]]:
    """Run it, with these programs up; afterwards wait for its end."""
    stop = StopRequest()
    task = asyncio.create_task(supervisor.run_until(stop))
    try:
        await until(lambda: set(names) <= set(supervisor.pids))
        # The shell has set its trap once it has started to sleep.
        await until(lambda: all(psutil.Process(supervisor.pids[name]).children() for name in names))
        yield stop, task
        stop.ask()
        await task
    finally:
        task.cancel()


async def test_a_program_is_started_again_also_after_exit_0_and_each_time_is_told() -> None:
    told: list[str] = []
    supervisor = Supervisor(say=told.append, grace_s=5)
    supervisor.add("api", [SHELL, "-c", "exit 0"])
    async with supervised(supervisor):
        await until(lambda: len(told) == 3)
    assert told == [
        "api ended (exit 0): starting it again in 0.5 s",
        "api ended (exit 0): starting it again in 1 s",
        "api ended (exit 0): starting it again in 2 s",
    ]


async def test_a_stop_does_not_wait_for_the_pause_before_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.supervisor.next_pause_s", lambda _previous_s, _ran_s: 3600.0)
    told: list[str] = []
    supervisor = Supervisor(say=told.append, grace_s=5)
    supervisor.add("api", [SHELL, "-c", "exit 0"])
    async with asyncio.timeout(60), supervised(supervisor):
        await until(lambda: told)
    assert told == ["api ended (exit 0): starting it again in 3600 s"]


async def test_one_killed_program_comes_back_and_the_others_do_not_notice() -> None:
    told: list[str] = []
    supervisor = Supervisor(say=told.append, grace_s=5)
    supervisor.add("api", OBEDIENT)
    supervisor.add("worker", OBEDIENT)
    async with supervised(supervisor, "api", "worker"):
        before = dict(supervisor.pids)
        os.kill(before["worker"], signal.SIGKILL)
        await until(lambda: supervisor.pids.get("worker", before["worker"]) != before["worker"])
        assert supervisor.pids["api"] == before["api"]
    assert told == ["worker ended (signal 9, Killed): starting it again in 0.5 s"]
    assert supervisor.pids == {}


async def test_a_program_that_is_not_there_is_told_and_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    supervisor = Supervisor(say=told.append, grace_s=5)
    supervisor.add("api", ["/no/such/program"])
    async with supervised(supervisor):
        await until(lambda: told)
    assert told[0] == "api ended (exit 127): starting it again in 0.5 s"
    assert "cannot start /no/such/program: No such file or directory" in capfd.readouterr().err


async def test_programs_get_their_environment_and_our_output(capfd: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor(say=print, grace_s=5)
    supervisor.add("api", [SHELL, "-c", 'echo "PORT is $PORT" >&2; exec sleep 60'], {"PORT": "8123"})
    async with supervised(supervisor):
        await until(lambda: "PORT is 8123\n" in capfd.readouterr().err)


async def test_a_program_that_obeys_is_not_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(say=print, grace_s=10)
    goodbye = tmp_path / "goodbye"
    script = f"trap 'sleep 0.3; echo done > {goodbye}; exit 0' TERM; while :; do sleep 0.05; done"
    supervisor.add("worker", [SHELL, "-c", script])
    async with supervised(supervisor, "worker") as (stop, task):
        stop.ask()
        await task
    assert goodbye.read_text() == "done\n"


async def test_a_program_that_does_not_obey_is_killed_after_the_grace() -> None:
    supervisor = Supervisor(say=print, grace_s=0.4)
    supervisor.add("worker", STUBBORN)
    async with supervised(supervisor, "worker") as (stop, task):
        process = psutil.Process(supervisor.pids["worker"])
        began = time.monotonic()
        stop.ask()
        await task
    assert time.monotonic() - began >= 0.4
    assert not process.is_running()


async def test_asked_a_second_time_it_does_not_wait_for_the_grace() -> None:
    supervisor = Supervisor(say=print, grace_s=600)
    supervisor.add("worker", STUBBORN)
    async with supervised(supervisor, "worker") as (stop, task):
        began = time.monotonic()
        stop.ask()
        await asyncio.sleep(0.1)
        assert not task.done()
        stop.ask()
        await task
    assert time.monotonic() - began < 60


async def test_what_a_program_started_itself_ends_with_it() -> None:
    supervisor = Supervisor(say=print, grace_s=5)
    supervisor.add("worker", WITH_A_CHILD)
    async with supervised(supervisor, "worker"):
        grandchildren = psutil.Process(supervisor.pids["worker"]).children()
    assert grandchildren
    assert still_there(grandchildren) == []


async def test_a_supervisor_that_is_cancelled_leaves_nothing() -> None:
    supervisor = Supervisor(say=print, grace_s=600)
    supervisor.add("worker", STUBBORN)
    stop = StopRequest()
    task = asyncio.create_task(supervisor.run_until(stop))
    await until(lambda: supervisor.pids)
    process = psutil.Process(supervisor.pids["worker"])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not process.is_running()


SUPERVISING = """
import asyncio, sys
from app.cli.supervisor import StopRequest, Supervisor

async def main():
    supervisor = Supervisor(say=print, grace_s=5)
    for name in ("api", "worker"):
        supervisor.add(name, sys.argv[1:])
    stop = StopRequest()
    stop.listen()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run_until(stop))
        while len(supervisor.pids) < 2:
            await asyncio.sleep(0.01)
        print(*supervisor.pids.values(), flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGKILL, -9), (signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_no_program_outlives_the_supervisor(signum: signal.Signals, exit_code: int) -> None:
    command = [sys.executable, "-c", SUPERVISING, *OBEDIENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert [os.getsid(child.pid) for child in children] == [child.pid for child in children]
        process.send_signal(signum)
        assert process.wait(10) == exit_code
    assert len(children) == 2
    assert still_there(children) == []


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    command = ["nohup", sys.executable, "-c", SUPERVISING, *OBEDIENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


STARTING = """
import signal, subprocess, sys, time
from app.cli.die_with_parent import wrap

child = subprocess.Popen(wrap(["sleep", sys.argv[2]], signum=signal.SIGTERM, method=sys.argv[1]))
print(child.pid, flush=True)
child.wait()
time.sleep(600)
"""


@pytest.mark.parametrize("method", ["prctl", "watchdog"] if sys.platform == "linux" else ["watchdog"])
def test_a_program_ends_with_its_parent_by_either_method(method: str) -> None:
    command = [sys.executable, "-c", STARTING, method, "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = psutil.Process(int(process.stdout.readline()))
        process.kill()
    assert still_there([child]) == []


def test_the_watchdog_ends_with_its_program() -> None:
    with subprocess.Popen(wrap(["sleep", "0.2"], signum=signal.SIGTERM, method="watchdog")) as program:
        mark = str(os.getpid())
        assert program.wait(60) == 0
    deadline = time.monotonic() + 60
    while left := [one for one in psutil.process_iter(["cmdline"]) if _is_watchdog_of(one.info["cmdline"], mark)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def _is_watchdog_of(command: list[str] | None, parent: str) -> bool:
    return {"watchdog", parent} <= set(command or ())
