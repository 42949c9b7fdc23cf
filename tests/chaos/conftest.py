"""The drills and outages that take longest begin first, so that no process works on one alone in the end."""

from __future__ import annotations

import pytest

LONGEST = ("test_alerts.py", "test_upgrade.py", "test_restore.py", "test_outages.py", "test_kills.py")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order by file; all processes come to the same order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
