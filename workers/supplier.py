"""The supplier worker: `promidata-sync worker supplier`, or `arq workers.supplier.WorkerSettings` on stock ARQ.

`WorkerSettings` is built when it is first looked up, so that nothing reads the environment at import.
"""

from __future__ import annotations

from app.jobs.definitions import QueueName
from workers.stock import worker_settings

QUEUE: QueueName = "supplier-sync"


def __getattr__(name: str) -> type:
    if name == "WorkerSettings":
        return worker_settings(QUEUE)
    raise AttributeError(name)
