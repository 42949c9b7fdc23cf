"""One suite for every object store: the local folder, S3 on moto, S3 on rclone."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.errors import StoreUnavailable
from app.images.opening import open_store
from app.images.store import ObjectStore, media_key
from app.images.store_local import LocalStore
from app.settings import Settings
from tests.support.s3_servers import s3_settings

ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture(params=["local", "moto", "rclone", "rclone, opened later"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    if request.param == "local":
        settings = Settings(_env_file=None, s3_bucket=None, data_dir=tmp_path)
    else:
        settings = s3_settings(request.getfixturevalue(f"{request.param.partition(',')[0]}_endpoint"))
    async with open_store(settings, at_once="later" not in request.param) as opened:
        yield opened
        async for found in opened.list_objects():
            await opened.delete(found.key)


def picture(seed: int, size: int = 5_000) -> tuple[str, bytes]:
    body = random.Random(seed).randbytes(size)
    return media_key(hashlib.sha256(body).hexdigest(), "jpg"), body


async def test_what_was_put_is_there_with_its_bytes_and_size(store: ObjectStore) -> None:
    key, body = picture(1)
    await store.put(key, body, "image/jpeg")
    found = await store.head(key)
    assert found is not None
    assert (found.key, found.size) == (key, len(body))
    assert found.modified_at_s > 1_600_000_000
    assert await store.get(key) == body


async def test_putting_again_changes_nothing(store: ObjectStore) -> None:
    key, body = picture(2)
    for _ in range(3):
        await store.put(key, body, "image/jpeg")
    assert [found.key async for found in store.list_objects()] == [key]
    assert await store.get(key) == body


@pytest.mark.parametrize("size", [0, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, 20 * 1024 * 1024])
async def test_any_size_arrives_whole(store: ObjectStore, size: int) -> None:
    key, body = picture(size, size)
    await store.put(key, body, "image/jpeg")
    assert await store.get(key) == body


async def test_what_is_missing_is_told_from_what_failed(store: ObjectStore) -> None:
    key, _ = picture(3)
    assert await store.head(key) is None
    await store.delete(key)
    with pytest.raises(StoreUnavailable):
        await store.get(key)


async def test_what_was_deleted_is_gone(store: ObjectStore) -> None:
    key, body = picture(4)
    await store.put(key, body, "image/jpeg")
    await store.delete(key)
    assert await store.head(key) is None


async def test_a_listing_is_in_order_and_goes_on_after_a_key(store: ObjectStore) -> None:
    keys = []
    for seed in range(10, 22):
        key, body = picture(seed, 10)
        await store.put(key, body, "image/jpeg")
        keys.append(key)
    keys.sort()
    assert [found.key async for found in store.list_objects()] == keys
    assert [found.key async for found in store.list_objects(after=keys[4])] == keys[5:]
    assert [found.key async for found in store.list_objects(prefix=keys[0][:2])] == [
        key for key in keys if key.startswith(keys[0][:2])
    ]


async def test_ten_at_once_do_not_disturb_each_other(store: ObjectStore) -> None:
    pictures = [picture(seed, 100_000) for seed in range(100, 110)]
    async with asyncio.TaskGroup() as group:
        for key, body in pictures * 2:
            group.create_task(store.put(key, body, "image/jpeg"))
    for key, body in pictures:
        assert await store.get(key) == body


async def test_readiness_leaves_no_object_behind(store: ObjectStore) -> None:
    for _ in range(3):
        await store.check()
    assert [found async for found in store.list_objects()] == []


@pytest.mark.parametrize(
    "key", ["x.jpg", "../../etc/passwd", "ab/cd/" + "0" * 64 + ".jpg", "00/00/" + "0" * 64 + ".svg"]
)
async def test_only_pictures_are_kept(store: ObjectStore, key: str) -> None:
    for attempt in (store.put(key, b"x", "image/jpeg"), store.head(key), store.get(key), store.delete(key)):
        with pytest.raises(ValueError, match="not the key of a picture"):
            await attempt
    with pytest.raises(ValueError, match="not the key of a picture"):
        store.public_url(key)


def test_a_key_that_is_no_hash_is_refused() -> None:
    assert media_key("ab" * 32, "png") == f"ab/ab/{'ab' * 32}.png"
    with pytest.raises(ValueError, match="not the key"):
        media_key("ab", "png")


def test_a_process_that_does_not_use_its_bucket_does_not_load_what_it_takes() -> None:
    """A second of a processor at each start of a family worker."""
    code = """
import asyncio, sys
from app.sync.services import open_services
from tests.support.s3_servers import s3_settings

async def main():
    settings = s3_settings("http://127.0.0.1:1", database_url="postgresql://nobody@127.0.0.1:1/none")
    async with open_services(settings) as services:
        assert await services.store.sweep() == 0
        print([name for name in ("aioboto3", "botocore", "alembic", "fastapi", "typer") if name in sys.modules])

asyncio.run(main())
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert said == "[]\n"


async def test_a_folder_may_be_named_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DATA_DIR is by default."""
    monkeypatch.chdir(tmp_path)
    store = LocalStore(Path(".data/media"))
    key, body = picture(1)
    await store.put(key, body, "image/jpeg")
    assert await store.get(key) == body
