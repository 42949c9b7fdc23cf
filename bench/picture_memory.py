"""What pictures of one size cost in memory: `python -m bench.picture_memory FILE FOLDER`, which prints MB.

Ten at a time, as an image worker has slots: the bytes in memory, judged, put into a local store. A process of its own,
so that the peak is its own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from app.images.inspect import PictureInspector
from app.images.store import media_key
from app.images.store_local import LocalStore

AT_ONCE = 10
ROUNDS = 3
MAX_PIXELS = 60_000_000


def main() -> None:
    """Print the peak before any picture and the peak with them."""
    before = _peak_mb()
    asyncio.run(_work(Path(sys.argv[1]), LocalStore(Path(sys.argv[2]))))
    print(f"{before:.0f} {_peak_mb():.0f}")


async def _work(file: Path, store: LocalStore) -> None:
    inspector = PictureInspector(max_pixels=MAX_PIXELS)

    async def one(number: int) -> None:
        body = await asyncio.to_thread(file.read_bytes)
        facts, _ = await inspector.inspect(body)
        await store.put(media_key(f"{number:064x}", facts.extension), body, facts.content_type)

    for number in range(ROUNDS):
        async with asyncio.TaskGroup() as group:
            for slot in range(AT_ONCE):
                group.create_task(one(number * AT_ONCE + slot))
    inspector.close()


def _peak_mb() -> float:
    """Linux's own mark: `getrusage` gives a child what its parent had when it was started."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    main()
