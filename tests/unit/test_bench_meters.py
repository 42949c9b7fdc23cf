"""What `make bench` counts as a program's own memory."""

import mmap
import sys

import psutil
import pytest

from bench.meters import own_mb

SHARED_BYTES = 64_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose a mapping is")
def test_shared_memory_is_not_a_programs_own_though_nobody_else_touched_it() -> None:
    with mmap.mmap(-1, SHARED_BYTES) as shared:
        shared.write(bytes(SHARED_BYTES))

        this = psutil.Process()

        assert own_mb(this) < this.memory_full_info().uss / 1e6 - 0.5 * SHARED_BYTES / 1e6
