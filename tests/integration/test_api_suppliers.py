"""Suppliers are added, changed, reset and discovered over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import MakeStack
from tests.support.api_client import ApiClient, api_client
from tests.support.stack import Servers, Stack, open_stack


@pytest.fixture(scope="module")
async def scratch(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack:
        await stack.sync()
        yield stack


@pytest.fixture(scope="module")
async def scratch_api(scratch: Stack) -> AsyncIterator[ApiClient]:
    async with api_client(scratch.settings) as client:
        yield client


async def test_a_supplier_is_added_and_changed(scratch_api: ApiClient) -> None:
    added = await scratch_api.post("/suppliers", {"code": "A999", "name": "New"}, 201)
    assert (added["code"], added["name"], added["isActive"], added["removalGuardShare"]) == ("A999", "New", True, 0.2)
    await scratch_api.problem("POST", "/suppliers", 409, json={"code": "A999"})
    changes = {"schedule": "30 3 * * *", "timeZone": "Europe/Amsterdam", "removalGuardShare": 0.5}
    changed = await scratch_api.call("PATCH", "/suppliers/A999", json=changes)
    assert {name: changed[name] for name in changes} == changes
    assert changed["nextRunAt"].endswith(":30:00Z")
    assert (changed["name"], changed["isActive"]) == ("New", True)
    assert (await scratch_api.call("PATCH", "/suppliers/A999", json={"isActive": False}))["isActive"] is False
    cleared = await scratch_api.call("PATCH", "/suppliers/A999", json={"schedule": None})
    assert (cleared["schedule"], cleared["nextRunAt"], cleared["removalGuardShare"]) == (None, None, 0.5)
    await scratch_api.problem("PATCH", "/suppliers/nobody", 404, json={"name": "x"})
    await scratch_api.problem("GET", "/suppliers/nobody", 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"schedule": "every day"}, "schedule"),
        ({"schedule": "* * * * * *"}, "schedule"),
        ({"schedule": "0 0 30 2 *"}, "schedule"),
        ({"timeZone": "Mars/Base"}, "timeZone"),
        ({"timeZone": "localtime"}, "timeZone"),
        ({"timeZone": "right/Europe/Amsterdam"}, "timeZone"),
        ({"removalGuardShare": 1.5}, "removalGuardShare"),
        ({"removalGuardShare": True}, "removalGuardShare"),
        ({"removalGuardShare": "0.5"}, "removalGuardShare"),
        ({"isActive": "yes"}, "isActive"),
        ({"isActive": None}, "isActive"),
        ({"name": ""}, "name"),
        ({"name": "a\x00"}, "name"),
        ({"code": "B1"}, "code"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_by_field(scratch_api: ApiClient, body: Any, field: str) -> None:
    problem = await scratch_api.problem("PATCH", "/suppliers/A23", 422, json=body)
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_a_reset_makes_the_next_sync_fetch_everything(scratch_api: ApiClient, scratch: Stack) -> None:
    await scratch_api.post("/suppliers/A23/reset")
    scratch.server.log.reset()
    await scratch.sync("A23")
    assert scratch.server.log.counts["document"] == len(list(scratch.feed.entries("A23")))


async def test_discovering_adds_what_the_manifest_names_once(make_stack: MakeStack) -> None:
    async with make_stack() as stack, api_client(stack.settings) as api:
        assert await api.post("/suppliers/discover") == {"added": 0, "items": []}
        checked = await api.get("/feed/check")
        assert checked["ok"] is True
        assert checked["entries"] == sum(supplier["entries"] for supplier in checked["suppliers"])
        assert [supplier["code"] for supplier in checked["suppliers"]] == ["A23", "A360"]
        stack.server.faults.add("*/Import/Import.txt", "status", status=500)
        problem = await api.problem("GET", "/feed/check", 502)
        assert str(stack.settings.base_url) not in json.dumps(problem)


async def test_a_code_that_would_mean_another_supplier_is_not_discovered(make_stack: MakeStack) -> None:
    async with make_stack() as stack, api_client(stack.settings) as api:
        await _write(stack, "DELETE FROM suppliers WHERE code = 'A360'")
        other = await api.post("/suppliers", {"code": "FOO", "documentId": "A360"}, 201)
        assert await api.post("/suppliers/discover") == {"added": 0, "items": [], "passedOver": ["A360"]}
        newest = (await api.get("/audit", action="discoverSuppliers"))["items"][0]
        assert (newest["result"], newest["detail"]["passedOver"]) == ("ok", ["A360"])
        assert [one["code"] for one in (await api.get("/suppliers"))["items"]] == ["A23", "FOO"]
        assert await api.get("/suppliers/A360") == other


async def test_a_name_that_two_suppliers_have_means_the_same_one_everywhere(make_stack: MakeStack) -> None:
    """As an older release could leave them: `documentId` first."""
    async with make_stack() as stack, api_client(stack.settings) as api:
        await stack.sync("A23")
        await _write(stack, "INSERT INTO suppliers (document_id, code, name) VALUES ('A23', 'FOO', 'FOO')")
        assert (await api.get("/suppliers/A23"))["code"] == "FOO"
        assert [(await api.get(path))["items"] != [] for path in ("/products", "/variants", "/runs")] == [True] * 3
        for path in ("/products", "/variants", "/runs", "/queues/supplier-sync/jobs"):
            assert (await api.get(path, supplier="A23"))["items"] == [], path


async def _write(stack: Stack, sql: str) -> None:
    async with stack.services.database.begin() as db:
        await db.execute(text(sql))
