"""A feed of one's own at a private address: whoever meets the refusal is told which setting allows it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from app.samplefeed import FeedSpec, SampleFeed, SampleFeedServer
from tests.conftest import MakeStack
from tests.support.api_client import api_client
from tests.support.command_line import command, environment
from tests.support.stack import Stack


@pytest.mark.parametrize(
    ("host", "given", "advice"),
    [
        ("10.1.2.3", "", "ALLOW_PRIVATE_ADDRESSES=10.1.2.3"),
        ("192.168.7.7", "10.0.0.0/8", "ALLOW_PRIVATE_ADDRESSES=10.0.0.0/8,192.168.7.7"),
        ("[fd00::7]", "", "ALLOW_PRIVATE_ADDRESSES=fd00::7"),
    ],
)
async def test_feed_check_names_the_setting_with_the_very_address(
    tmp_path: Path, host: str, given: str, advice: str
) -> None:
    env = environment(PROMIDATA_BASE_URL=f"http://{host}/Profiles/Live/x", ALLOW_PRIVATE_ADDRESSES=given)
    ended = await command(tmp_path, env, "feed", "check")
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    assert ended.err.endswith(f"if PROMIDATA_BASE_URL is right, set {advice}\n")


async def test_the_advice_works_for_a_name_that_leads_to_several(tmp_path: Path) -> None:
    async with SampleFeedServer(SampleFeed(FeedSpec.small(count=2, families=4, variants=3))) as server:
        env = environment(
            PROMIDATA_BASE_URL=server.base_url.replace("127.0.0.1", "localhost"), DOCUMENT_HOSTS="127.0.0.1"
        )
        refused = await command(tmp_path, env, "feed", "check")
        found = re.search(r"set ALLOW_PRIVATE_ADDRESSES=(\S+)", refused.err)
        assert found is not None, refused.err
        assert "127.0.0.1" in found[1].split(",")
        ended = await command(tmp_path, {**env, "ALLOW_PRIVATE_ADDRESSES": found[1]}, "feed", "check")
        assert ended.code == 0, ended.err


async def test_the_api_and_a_run_name_it_too(make_stack: MakeStack, stack: Stack) -> None:
    settings = stack.settings.model_copy(update={"allow_private_addresses": ()})
    async with api_client(settings) as api:
        answers = await asyncio.gather(
            api.problem("GET", "/feed/check", 502), api.problem("POST", "/suppliers/discover", 502)
        )
        await api.call("POST", "/sync", 200, json={"useQueue": False, "supplierId": "A23"})
        run = (await api.get("/runs"))["items"][0]
    for said in (answers[0]["detail"], answers[1]["detail"], run["error"]):
        assert "set ALLOW_PRIVATE_ADDRESSES=127.0.0.1" in said
