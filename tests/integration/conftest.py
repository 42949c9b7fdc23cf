"""Fixtures of the tests of object stores: S3 on two servers that share no code, a module's own each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.s3_servers import moto_server, rclone_server


@pytest.fixture(scope="module")
def moto_endpoint() -> Iterator[str]:
    """Where moto answers."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def rclone_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where rclone answers, with an empty folder behind it."""
    with rclone_server(tmp_path_factory.mktemp("rclone")) as endpoint:
        yield endpoint


@pytest.fixture(params=["moto", "rclone"])
def endpoint(request: pytest.FixtureRequest) -> str:
    """Where one of them answers, then the other."""
    return str(request.getfixturevalue(f"{request.param}_endpoint"))
