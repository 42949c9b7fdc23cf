"""What objects look like from outside, what the operator is told, and that nothing corrupt counts as stored."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.errors import StoreUnavailable
from app.images.opening import open_store
from app.images.store import CACHE_CONTROL, media_key
from app.images.store_local import LocalStore
from app.images.store_s3 import S3Store, open_s3_store
from app.settings import Settings
from tests.support.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.support.raw_http import KEEP, answer, serve
from tests.support.s3_servers import free_port, s3_settings
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def _no_waits_between_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda _self, _context: 0.01)


@pytest_asyncio.fixture
async def proxy(endpoint: str) -> AsyncIterator[FaultProxy]:
    async with fault_proxy(endpoint) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def faulty(proxy: FaultProxy) -> AsyncIterator[S3Store]:
    """It has put a picture before, so that the next ones go straight."""
    async with open_s3_store(s3_settings(proxy.endpoint)) as store:
        await store.put(*picture(0), "image/png")
        yield store


@pytest_asyncio.fixture
async def honest(endpoint: str) -> AsyncIterator[S3Store]:
    async with open_s3_store(s3_settings(endpoint)) as store:
        yield store


def picture(seed: int, size: int = 5_000) -> tuple[str, bytes]:
    body = random.Random(seed).randbytes(size)
    return media_key(hashlib.sha256(body).hexdigest(), "png"), body


FAULTS: list[Fault] = ["cut-request", "cut-answer", "reset", "change-request", "change-answer", "delay"]


@pytest.mark.parametrize(
    ("fault", "size"),
    [*((fault, 5_000) for fault in FAULTS), ("change-request", 9_000_000), ("cut-answer", 9_000_000)],
)
async def test_nothing_corrupt_is_ever_reported_as_stored(
    proxy: FaultProxy, faulty: S3Store, honest: S3Store, fault: Fault, size: int
) -> None:
    """Struck once and always: a put that returns has stored the bytes, and one that has not says so."""
    for times in (1, 1_000_000):
        key, body = picture(FAULTS.index(fault) * 10 + times, size)
        proxy.strike(fault, times)
        try:
            await faulty.put(key, body, "image/png")
        except StoreUnavailable:
            assert proxy.seen > 0
            proxy.strike("none")
            await faulty.put(key, body, "image/png")
        assert await honest.get(key) == body


async def test_bytes_that_are_always_changed_on_the_way_are_never_taken(
    proxy: FaultProxy, faulty: S3Store, honest: S3Store
) -> None:
    key, body = picture(6)
    proxy.strike("change-request")
    with pytest.raises(StoreUnavailable):
        await faulty.put(key, body, "image/png")
    assert proxy.seen > 0
    assert await honest.head(key) is None


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_is_read_is_what_was_stored_or_an_outage(
    proxy: FaultProxy, faulty: S3Store, honest: S3Store, fault: Fault
) -> None:
    key, body = picture(99, 200_000)
    await honest.put(key, body, "image/png")
    for times in (1, 1_000_000):
        proxy.strike(fault, times)
        try:
            assert await faulty.get(key) == body
        except StoreUnavailable:
            continue


async def test_one_failure_on_the_way_is_not_the_callers_business(
    proxy: FaultProxy, faulty: S3Store, honest: S3Store
) -> None:
    key, body = picture(7)
    proxy.strike("reset", 1)
    await faulty.put(key, body, "image/png")
    assert proxy.seen == 1
    assert await honest.get(key) == body


async def test_a_corrupt_object_is_not_handed_out(rclone_endpoint: str, tmp_path: Path) -> None:
    local = LocalStore(tmp_path)
    key, body = picture(8)
    await local.put(key, body, "image/png")
    (tmp_path / key).write_bytes(body[:-1] + b"x")
    with pytest.raises(StoreUnavailable, match="other bytes"):
        await local.get(key)


async def test_objects_carry_their_type_and_may_be_kept_for_ever(moto_endpoint: str) -> None:
    async with open_s3_store(s3_settings(moto_endpoint)) as store:
        for seed, size in ((21, 5_000), (22, 9_000_000)):
            key, body = picture(seed, size)
            await store.put(key, body, "image/png")
            answer = await asyncio.to_thread(urllib.request.urlopen, store.public_url(key))
            with answer:
                assert answer.headers["Content-Type"] == "image/png"
                assert answer.headers["Cache-Control"] == CACHE_CONTROL
                assert answer.read() == body


async def test_a_presigned_address_reads_its_picture_and_nothing_else(rclone_endpoint: str) -> None:
    key, body = picture(23)
    async with open_s3_store(s3_settings(rclone_endpoint)) as store:
        await store.put(key, body, "image/png")
        signed = store.public_url(key)
        assert await asyncio.to_thread(_read, signed) == body
        other = store.public_url(media_key("ab" * 32, "png")).partition("?")[2]
        with pytest.raises(OSError, match="403"):
            await asyncio.to_thread(_read, f"{signed.partition('?')[0]}?{other}")


def test_the_public_address_is_the_operators_where_there_is_one() -> None:
    settings = s3_settings("http://127.0.0.1:1", s3_public_url="https://cdn.test/media/")
    key = media_key("ab" * 32, "png")

    async def address() -> str:
        async with open_s3_store(settings) as store:
            return store.public_url(key)

    assert asyncio.run(address()) == f"https://cdn.test/media/{key}"


async def test_a_store_that_is_away_says_what_to_look_at() -> None:
    async with open_s3_store(s3_settings(f"http://127.0.0.1:{free_port()}")) as store:
        with pytest.raises(StoreUnavailable, match="S3_ENDPOINT_URL"):
            await store.check()


async def test_a_missing_bucket_is_named(endpoint: str) -> None:
    key, body = picture(24)
    async with open_s3_store(s3_settings(endpoint, s3_bucket="elsewhere")) as store:
        with pytest.raises(StoreUnavailable, match="elsewhere: there is no such bucket: set S3_BUCKET"):
            await store.check()
        with pytest.raises(StoreUnavailable, match="elsewhere"):
            await store.put(key, body, "image/png")


async def test_a_wrong_secret_is_named(rclone_endpoint: str) -> None:
    wrong = s3_settings(rclone_endpoint, s3_secret_access_key="another-secret")
    async with open_s3_store(wrong) as store:
        with pytest.raises(StoreUnavailable, match=r"S3_SECRET_ACCESS_KEY|access is denied"):
            await store.check()


async def test_profiles_of_whoever_starts_the_service_do_not_matter_beside_a_key_pair(
    moto_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").write_text("[default\n")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "broken"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    key, body = picture(30)
    async with open_s3_store(s3_settings(moto_endpoint)) as store:
        await store.put(key, body, "image/png")
        assert await asyncio.to_thread(_read, store.public_url(key)) == body


async def test_cancelling_an_upload_in_parts_leaves_nothing(
    proxy: FaultProxy, faulty: S3Store, honest: S3Store
) -> None:
    key, body = picture(25, 20_000_000)
    proxy.delay_s = 600
    proxy.strike("delay")
    task = asyncio.create_task(faulty.put(key, body, "image/png"))
    await eventually(lambda: _struck(proxy))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    proxy.strike("none")
    assert await honest.head(key) is None


async def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("a file where the folder should be")
    store = LocalStore(tmp_path / "media")
    key, body = picture(26)
    with pytest.raises(StoreUnavailable, match="DATA_DIR"):
        await store.check()
    with pytest.raises(StoreUnavailable, match="DATA_DIR"):
        await store.put(key, body, "image/png")


async def test_a_write_that_fails_leaves_nothing_lying_about(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "media")
    key, body = picture(28)
    (tmp_path / "media" / key).mkdir(parents=True)
    with pytest.raises(StoreUnavailable):
        await store.put(key, body, "image/png")
    assert await asyncio.to_thread(_files_under, tmp_path) == []


async def test_a_store_that_fails_is_told_from_a_missing_object(rclone_endpoint: str) -> None:
    async with open_s3_store(s3_settings(rclone_endpoint, s3_access_key_id="another-key")) as store:
        with pytest.raises(StoreUnavailable):
            await store.head(picture(29)[0])


@pytest.mark.parametrize(
    ("of_get", "told"),
    [
        (answer(b"<Error><Code>RequestTimeTooSkewed</Code></Error>", status=403), "this machine's clock is wrong"),
        (answer(b"<Error><Code>AccessDenied</Code></Error>", status=403), "access is denied"),
        (answer(b"x", status=206), "answered 403"),
        (answer(b"<Error><Code>NoSuchKey</Code></Error>", status=404), "answered 403"),
    ],
)
async def test_why_an_object_may_not_be_looked_for_is_asked_for(of_get: bytes, told: str) -> None:
    """The answer of a HEAD has no body, so a clock that is wrong was "the object store answered 403"."""
    bare = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    async with serve(lambda head: [bare if head.startswith("HEAD ") else of_get, KEEP]) as server:
        async with open_s3_store(s3_settings(server.url(""))) as store:
            with pytest.raises(StoreUnavailable, match=told):
                await store.head(picture(31)[0])
        asked = [request.split(" ")[0] for request in server.requests]
        assert asked == ["HEAD", "GET"]


async def test_the_folder_holds_whole_files_alone_and_for_the_owner_alone(tmp_path: Path) -> None:
    async with open_store(Settings(_env_file=None, data_dir=tmp_path)) as store:
        key, body = picture(27)
        started = time.time()
        await store.put(key, body, "image/png")
    assert isinstance(store, LocalStore)
    files = await asyncio.to_thread(_files_under, tmp_path)
    assert files == [tmp_path / "media" / key]
    assert store.path_of(key) == files[0]
    assert store.path_of("../x.jpg") is None
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "media").stat().st_mode & 0o777 == 0o700
    assert files[0].stat().st_mtime >= started - 2


async def _struck(proxy: FaultProxy) -> bool:
    return proxy.seen > 0


def _files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())
