"""The drills and outages that take longest begin first, so that no process works on one alone in the end."""

from __future__ import annotations

import pytest

LONGEST = (
    "test_worker_cancel.py",
    "test_kills.py",
    "test_alerts.py",
    "test_ledger_properties.py",
    "test_upgrade.py",
    "test_outages.py",
    "test_restore.py",
    "test_image.py",
    "test_migrations_wait.py",
    "test_worker_restarts.py",
    "test_queue_starts.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order by file; all processes come to the same order."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    is_slow = item.get_closest_marker("chaos") or item.get_closest_marker("image")
    is_long = item.path.name in LONGEST and is_slow
    return LONGEST.index(item.path.name) if is_long else len(LONGEST)
