"""How many processors there are to use, and how many workers they pay for."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.cores import available_cores, worker_counts
from app.settings import Settings

NEW_GROUPS = {
    "no quota": ({"cpu.max": "max 100000"}, None),
    "two and a half processors": ({"cpu.max": "250000 100000"}, 3),
    "a tenth of one": ({"cpu.max": "10000 100000"}, 1),
    "the group above has less": ({"pod/box/cpu.max": "400000 100000", "pod/cpu.max": "200000 100000"}, 2),
    "the group above has more": ({"pod/box/cpu.max": "100000 100000", "pod/cpu.max": "800000 100000"}, 1),
    "nonsense": ({"cpu.max": "plenty"}, None),
    "no time at all": ({"cpu.max": "100000 0"}, None),
    "nothing there": ({}, None),
}
OLD_GROUPS = {
    "no quota": ({"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"}, None),
    "two processors": ({"cpu/box/cpu.cfs_quota_us": "200000", "cpu/box/cpu.cfs_period_us": "100000"}, 2),
}


def groups(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(("files", "cores"), NEW_GROUPS.values(), ids=NEW_GROUPS)
def test_a_quota_of_this_group_or_of_one_above_it_counts(
    tmp_path: Path, files: dict[str, str], cores: int | None
) -> None:
    (tmp_path / "mine").write_text("0::/pod/box\n")
    assert available_cores(groups(tmp_path / "groups", files), tmp_path / "mine") == (cores or 8)


@pytest.mark.parametrize(("files", "cores"), OLD_GROUPS.values(), ids=OLD_GROUPS)
def test_so_does_one_of_the_older_kind(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    (tmp_path / "mine").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n0::/\n")
    assert available_cores(groups(tmp_path / "groups", files), tmp_path / "mine") == (cores or 8)


def test_without_control_groups_the_processors_count_that_this_process_may_run_on(tmp_path: Path) -> None:
    assert available_cores(tmp_path / "none", tmp_path / "none") == 8


@pytest.mark.parametrize(
    ("cores", "settings", "families", "images"),
    [
        (1, {}, 1, 1),
        (2, {}, 1, 2),
        (4, {}, 2, 4),
        (64, {}, 3, 4),
        (64, {"origin_max_concurrency": 100, "concurrency_images": 5}, 3, 20),
        (8, {"origin_max_concurrency": 5}, 3, 1),
        (1, {"workers_families": 5, "workers_images": 9}, 5, 9),
    ],
)
def test_as_many_workers_are_started_as_pay(cores: int, settings: dict[str, int], families: int, images: int) -> None:
    counts = worker_counts(Settings(_env_file=None, **settings), cores)  # type: ignore[arg-type]
    assert counts == {"supplier": 1, "family": families, "image": images}
