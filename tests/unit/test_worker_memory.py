"""An idle worker gives back what its work has left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workers.memory import IdleMemory, _malloc_trim

LEFT_BEHIND = """
import psutil
from workers.memory import give_back

many = [bytes(4_000) for _ in range(20_000)]
last = bytes(4_000)  # stays above them: glibc gives nothing back by itself
del many
before = psutil.Process().memory_info().rss
give_back()
print((before - psutil.Process().memory_info().rss) // 2**20)
"""


async def test_memory_is_given_back_once_for_each_time_of_work() -> None:
    idle, given = False, []
    memory = IdleMemory(lambda: idle, lambda: given.append(1))
    idle = True
    await memory.look()
    assert not given, "nothing was worked on yet"
    memory.worked()
    idle = False
    await memory.look()
    assert not given, "there is work"
    idle = True
    await memory.look()
    memory.worked()
    await memory.look()
    assert not given, "there was work between two looks"
    await memory.look()
    await memory.look()
    assert len(given) == 1
    memory.worked()
    await memory.look()
    await memory.look()
    assert len(given) == 2


@pytest.mark.skipif(_malloc_trim() is None, reason="a C library without malloc_trim")
def test_what_is_freed_below_something_that_stays_goes_back_to_the_system() -> None:
    told = subprocess.run([sys.executable, "-c", LEFT_BEHIND], capture_output=True, text=True, check=True)
    assert int(told.stdout) > 50, "of 80 MB"
