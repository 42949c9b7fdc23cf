"""Keep the processes of `up` running until it is asked to stop.

    start ─▶ ended, however ─▶ say so ─▶ pause 0.5, 1, 2, 4, 5, 5 s ... ─▶ start    (0.5 again after a healthy minute)
      │
      └─ asked to stop ─▶ SIGTERM to all ─▶ grace ─▶ SIGKILL to what is left
                              └─ asked again ─▶ SIGTERM again ─▶ a second ─▶ SIGKILL

Every child has a session of its own, so that Ctrl-C reaches us and not them, and is killed by the kernel when we are
(die_with_parent.py). What they say goes to their log, or where ours goes; what they write nobody else can read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from app.cli.die_with_parent import wrap
from app.cli.rotated_log import RotatedLog
from app.data_folder import FILES_UMASK

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
HEALTHY_AFTER_S = 60.0
_HURRIED_GRACE_S = 1.0
STDOUT, STDERR = 1, 2


class StopRequest:
    """The wish to stop: `asked` after the first, `hurried` after the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()

    def ask(self) -> None:
        """Ask to stop; asked again, what is under way is not waited for."""
        (self.hurried if self.asked.is_set() else self.asked).set()

    def listen(self) -> None:
        """Let SIGINT (Ctrl-C), SIGTERM and a closed terminal ask, in the running event loop; `nohup` is obeyed."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self.ask)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            loop.add_signal_handler(signal.SIGHUP, self.hang_up)

    def hang_up(self) -> None:
        """Ask to stop, nobody being there any more; the shell and the kernel both may say so, which is no hurry."""
        _speak_to_nobody()
        self.asked.set()


@dataclass(frozen=True)
class Program:
    """What is kept running.

    `env` is its whole environment; None hands on ours. `descriptors` of ours stay open in it.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    descriptors: Sequence[int] = ()
    log: RotatedLog | None = None


def next_pause_s(previous_s: float | None, ran_s: float) -> float:
    """How long to wait before a program that ran for `ran_s` is started again."""
    if previous_s is None or ran_s >= HEALTHY_AFTER_S:
        return FIRST_PAUSE_S
    return min(previous_s * 2, LONGEST_PAUSE_S)


class Supervisor:
    """Keeps programs running. `say` gets a line at each restart; `grace_s` is the time from SIGTERM to SIGKILL."""

    def __init__(self, *, say: Callable[[str], None], grace_s: float) -> None:
        self._say = say
        self._grace_s = grace_s
        self._programs: list[Program] = []
        self.pids: dict[str, int] = {}
        """The process id of each program that runs at this moment, by name."""

    def add(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        descriptors: Sequence[int] = (),
        log: RotatedLog | None = None,
    ) -> None:
        """Name a program; `run_until` starts it."""
        self._programs.append(Program(name, argv, env, descriptors, log))

    async def run_until(self, stop: StopRequest) -> None:
        """Run all programs until `stop` is asked; when this returns, or is cancelled, none is left.

        Call it in the main thread: the programs end with the thread that started them.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for program in self._programs:
                    tasks.create_task(self._keep_running(program, stop), name=program.name)
        finally:
            for log in (program.log for program in self._programs if program.log is not None):
                log.close()

    async def _keep_running(self, program: Program, stop: StopRequest) -> None:
        pause_s: float | None = None
        while not stop.asked.is_set():
            began = time.monotonic()
            ending = await self._run_once(program, stop)
            if stop.asked.is_set():
                return
            pause_s = next_pause_s(pause_s, time.monotonic() - began)
            self._say(f"{program.name} ended ({ending}): starting it again in {pause_s:g} s")
            await _first_of(pause_s, stop.asked.wait())

    async def _run_once(self, program: Program, stop: StopRequest) -> str:
        try:
            process = await _start(program)
        except OSError as error:
            return str(error)
        self.pids[program.name] = process.pid
        try:
            await _first_of(None, process.wait(), stop.asked.wait())
            if process.returncode is None:
                await self._stop(process, stop)
        finally:
            await _kill(process)
            del self.pids[program.name]
        return _describe(process.returncode)

    async def _stop(self, process: Process, stop: StopRequest) -> None:
        _send(process, signal.SIGTERM)
        await _first_of(self._grace_s, process.wait(), stop.hurried.wait())
        if process.returncode is None and stop.hurried.is_set():
            # The worker's second SIGTERM: it hands its jobs back at once.
            _send(process, signal.SIGTERM)
            await _first_of(_HURRIED_GRACE_S, process.wait())


async def _start(program: Program) -> Process:
    argv = wrap(program.argv, signum=signal.SIGKILL)
    with nullcontext() if program.log is None else program.log.writer() as output:
        return await asyncio.create_subprocess_exec(
            *argv,
            env=program.env,
            pass_fds=program.descriptors,
            start_new_session=True,
            umask=FILES_UMASK,
            stdout=output,
            stderr=output,
        )


async def _first_of(timeout_s: float | None, *waits: Coroutine[Any, Any, object]) -> None:
    """Return as soon as one of `waits` is done, or after `timeout_s`."""
    tasks = [asyncio.create_task(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _speak_to_nobody() -> None:
    """Drop what is still said, but to a file: a closed terminal, or the `tee` that went with it, makes it an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (STDOUT, STDERR):
        with suppress(OSError):  # started with it closed
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _send(process: Process, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signum)


async def _kill(process: Process) -> None:
    """Kill what is left of its session, also what the program itself started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _describe(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit {returncode}"
    return f"signal {-returncode}, {signal.strsignal(-returncode)}"
