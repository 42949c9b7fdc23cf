"""API, command line and webhook show one run alike, and none of them tells the feed's secret, whatever its shape."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from app.sync.operating.start import StartRequest
from app.sync.running.direct import sync_direct
from app.sync.services import open_services
from tests.conftest import MakeStack
from tests.support.api_client import api_client
from tests.support.command_line import command, environment_of
from tests.support.deliveries import SECRET, add_webhook, delivering
from tests.support.receiver import Receiver, free_port, listening
from tests.support.worker_stack import until

SHAPES = {
    "a profile": ("/Profiles/Live/{}", "0f3c9a2e-1111-4222-8333-444455556666"),
    "an S3 host's folder": ("/{}/feed", "promidata-7Gk29sLqPz41"),
    "a word at the end": ("/shops/{}", "sesame"),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_failed_run_is_the_same_masked_json_everywhere(
    make_stack: MakeStack, tmp_path: Path, shape: str
) -> None:
    path, secret = SHAPES[shape]
    async with make_stack() as stack, listening(Receiver(free_port())) as shop:
        base = SecretStr(stack.server.origin + path.format(secret))
        settings = stack.settings.model_copy(update={"promidata_base_url": base})
        await add_webhook(stack, shop.url, ("run.finished",))
        async with open_services(settings) as services:
            (result,) = await sync_direct(services, StartRequest(supplier="A23"))
            moved = stack.__class__(services, settings, stack.feed, stack.server)
            async with delivering(moved), api_client(settings) as api:
                await until(lambda: shop.received)
                run = await api.get(f"/runs/{result.run_id}")
                problems = await api.get(f"/runs/{result.run_id}/problems")
                webhook = (await api.get("/webhooks"))["items"][0]["id"]
                delivery = (await api.get(f"/webhooks/{webhook}/deliveries"))["items"][0]
        shown = await command(tmp_path, environment_of(moved), "runs", result.run_id, "--json")
    (message,) = shop.received
    message.verify(SECRET)
    told = {name: value for name, value in message.data.items() if not name.startswith("supplierState")}
    printed = {name: value for name, value in shown.json.items() if name != "problems"}
    assert run["status"] == "failed"
    assert stack.server.origin in run["error"], "an error that names no address shows nothing"
    assert run == told == printed
    assert problems["items"] == shown.json["problems"]
    assert delivery["payload"]["data"] == message.data
    for text in (str(run), str(problems), str(delivery), message.body.decode(), shown.out):
        assert secret not in text
