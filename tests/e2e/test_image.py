"""The Dockerfile's own steps, run without an engine, and what comes out of them: each role in a read-only container."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from tests.support.databases import database_named, execute
from tests.support.dockerfile import Stage, read_dockerfile
from tests.support.image import Builder, Built, Container, Context
from tests.support.s3_servers import free_port
from tests.support.stack import Servers
from tests.support.worker_stack import until

pytestmark = [pytest.mark.image, pytest.mark.xdist_group("image")]  # built once, by the one process that gets them
CLONE = Path(__file__).resolve().parents[2]
WORKERS = ("supplier", "family", "image")


class Image:
    """The built image, and the containers of a test."""

    def __init__(self, builder: Builder, built: Built, stage: Stage) -> None:
        self._builder, self._built = builder, built
        self.health = stage.last("HEALTHCHECK").command()
        self.command = stage.last("CMD").command()

    def start(self, folder: Path, name: str, command: list[str], **environment: str) -> Container:
        """A container on the test's volume."""
        data = folder / "data"
        if not data.exists():
            data.mkdir()
            given = (self._built.layer / self._built.volumes[0].lstrip("/")).stat()
            data.chmod(given.st_mode & 0o777)
            os.chown(data, given.st_uid, given.st_gid)
        return self._builder.start(self._built, command, environment, data=data, log=folder / f"{name}.log")


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Both stages, built once; in a folder that the image's user may look into."""
    with tempfile.TemporaryDirectory(prefix="promidata-image-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        builder = Builder(CLONE, Path(folder))
        stages = read_dockerfile(CLONE / "Dockerfile")
        *_, final = [builder.build(stage) for stage in stages]
        yield Image(builder, final, stages[-1])


@pytest.fixture
def containers() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_the_context_holds_what_is_copied_and_no_secret() -> None:
    context = Context(CLONE)
    for name in (
        "app/main.py",
        "workers/probe.py",
        "alembic/env.py",
        "alembic.ini",
        "pyproject.toml",
        "requirements.lock",
    ):
        assert context.holds(name), name
    for name in (
        ".env",
        ".git/config",
        ".data/up.json",
        ".venv/bin/python",
        "tests/conftest.py",
        "app/__pycache__/a.pyc",
    ):
        assert not context.holds(name), name


async def test_every_role_works_and_is_well_on_a_read_only_file_system(
    image: Image, containers: ExitStack, servers: Servers, tmp_path: Path
) -> None:
    await execute(servers.postgres.url, "CREATE DATABASE of_the_image")
    feed = SampleFeed(FeedSpec.small(count=1, families=4, variants=2))
    async with SampleFeedServer(feed) as origin:
        settings = {
            "DATABASE_URL": database_named(servers.postgres.url, "of_the_image").replace("+asyncpg", ""),
            "REDIS_URL": servers.valkey.url,
            "PROMIDATA_BASE_URL": origin.base_url,
            "ALLOW_PRIVATE_ADDRESSES": "127.0.0.0/8",
            "API_KEYS": "test:admin:a-secret-of-the-test",
            "PORT": str(free_port()),
        }

        def start(name: str, command: list[str]) -> Container:
            started = image.start(tmp_path, name, command, **settings)
            containers.callback(started.kill)
            return started

        migrating = start("migrate", ["promidata-sync", "migrate"])
        await until(lambda: migrating.process.poll() is not None, 60)
        assert migrating.process.returncode == 0, migrating.said()
        roles = [start("api", image.command), *(start(kind, ["promidata-sync", "worker", kind]) for kind in WORKERS)]
        for role in roles:
            await until(lambda role=role: role.run(image.health).returncode == 0, 60)  # type: ignore[misc]
        api = roles[0]
        _refuses_to_be_written(api)
        discovered = await asyncio.to_thread(api.run, ["promidata-sync", "suppliers", "--discover"])
        assert discovered.returncode == 0, discovered.stderr
        synced = await asyncio.to_thread(api.run, ["promidata-sync", "sync", "--watch"])
        assert synced.returncode == 0, synced.stdout + synced.stderr
        assert list((tmp_path / "data").rglob("*.*")), "pictures lie in the volume"
        assert [role.stop() for role in roles] == [0, 0, 0, 0], [role.said()[-500:] for role in roles]
    await execute(servers.postgres.url, "DROP DATABASE of_the_image WITH (FORCE)")


def _refuses_to_be_written(container: Container) -> None:
    assert container.run(["id", "-u"]).stdout.strip() == "10001"
    for place in ("/venv", "/srv/promidata", "/etc", "/"):
        assert container.run(["touch", f"{place}/x"]).returncode != 0, place
    assert container.run(["touch", "/data/x", "/tmp/x"]).returncode == 0
    where = container.run(["python", "-c", "import app; print(app.__file__)"]).stdout
    assert where.startswith("/venv/lib/"), where


async def test_a_command_that_is_neither_api_nor_worker_is_well_while_it_runs(
    image: Image, containers: ExitStack, tmp_path: Path
) -> None:
    serving = image.start(tmp_path, "feed", ["promidata-sync", "feed", "serve", "--port", "0"])
    containers.callback(serving.kill)
    await until(lambda: "http://" in serving.said() or serving.process.poll() is not None, 30)
    asked = serving.run(image.health)
    assert (asked.returncode, asked.stderr) == (0, "")
    assert serving.stop() == 0


async def test_a_worker_without_a_place_for_its_pulse_says_so(
    image: Image, containers: ExitStack, servers: Servers, tmp_path: Path
) -> None:
    worker = image.start(
        tmp_path,
        "worker",
        ["promidata-sync", "worker", "image"],
        DATABASE_URL=servers.postgres.url,
        REDIS_URL=servers.valkey.url,
        WORKER_PROBE_FILE="/srv/promidata/probe",
    )
    containers.callback(worker.kill)
    await until(lambda: worker.process.poll() is not None, 30)
    assert worker.process.returncode == 1
    assert "Read-only file system" in worker.said()
