"""What `up` says of a program that does not become ready."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.cli.readiness import _explain
from app.outbound.loopback import Loopback


def nobody(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (lambda _: httpx.Response(200, json={"database": "up"}), None),
        (lambda _: httpx.Response(503, json={"detail": "database: grant USAGE"}), "database: grant USAGE"),
        (lambda _: httpx.Response(503, text="busy"), ""),
        (lambda _: httpx.Response(503, json=["busy"]), ""),
        (nobody, ""),
    ],
)
async def test_what_a_program_says_of_why_it_does_not_serve_is_told(
    answer: Callable[[httpx.Request], httpx.Response], refusal: str | None
) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await Loopback(client).refusal("http://127.0.0.1/readyz") == refusal


def test_what_is_missing_is_told_with_its_reason_its_log_and_the_end_of_that(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text("started\n")

    said = _explain({"api": "database: grant USAGE", "image": ""}, tmp_path)

    assert said.splitlines() == [
        "api: database: grant USAGE",
        f"its log is {tmp_path / 'api.log'}",
        "started",
        "image",
        f"its log is {tmp_path / 'image.log'}",
    ]
