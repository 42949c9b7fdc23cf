"""If-Match on a change: of two who read the same state the second overwrites nothing (RFC 9110, 13.1.1)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.api_client import ApiClient, api_client
from tests.support.stack import Servers, open_stack

MANY = 8


@dataclass(frozen=True)
class Thing:
    """Something that can be changed, and a change to it that is another for each number."""

    api: ApiClient
    path: str
    member: str

    def change(self, number: int) -> dict[str, Any]:
        return {self.member: f"http://127.0.0.1:9/{number}"}

    async def etag(self) -> str:
        answer = await self.api.http.get(self._full, headers={"Accept-Encoding": "gzip"})
        return answer.headers["etag"]

    async def patch(self, number: int, *if_match: str, json: dict[str, Any] | None = None) -> tuple[int, Any]:
        headers = [("If-Match", line) for line in if_match]
        answer = await self.api.http.patch(self._full, json=json or self.change(number), headers=headers)
        assert answer.headers["content-type"] == f"application/{'problem+' if answer.status_code >= 400 else ''}json"
        return answer.status_code, answer.json()

    async def value(self) -> str:
        return str((await self.api.get(self.path))[self.member])

    @property
    def _full(self) -> str:
        return f"/api/v1{self.path}"


@pytest.fixture(scope="module")
async def api(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ApiClient]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack")) as stack, api_client(stack.settings) as client:
        yield client


@pytest.fixture(params=["supplier", "webhook"])
async def thing(api: ApiClient, request: pytest.FixtureRequest) -> Thing:
    if request.param == "supplier":
        return Thing(api, "/suppliers/A23", "name")
    made = await api.post("/webhooks", {"url": "http://127.0.0.1:9/"}, 201)
    return Thing(api, f"/webhooks/{made['id']}", "url")


async def test_the_state_that_was_read_is_changed_and_no_other(thing: Thing) -> None:
    read = await thing.etag()
    assert read.startswith('"'), "a strong one: a weak one never matches"
    assert (await thing.patch(1, read))[0] == 200
    status, problem = await thing.patch(2, read)
    assert (status, problem["status"], problem["title"]) == (412, 412, "Precondition Failed")
    assert "read it again" in problem["detail"]
    assert await thing.value() == thing.change(1)[thing.member]
    assert (await thing.patch(3, await thing.etag()))[0] == 200


async def test_which_if_match_names_it(thing: Thing) -> None:
    tag = await thing.etag()
    for refused in ('"nope"', tag.strip('"'), f"W/{tag}", f"w/{tag}", "", '"*"', f'"nope", W/{tag}', f'{tag[:-1]}x"'):
        assert (await thing.patch(1, refused))[0] == 412, refused
    assert (await thing.patch(1, '"nope"', '"neither"'))[0] == 412
    _, problem = await thing.patch(1, f"W/{tag}")
    assert "weak" in problem["detail"]
    assert await thing.etag() == tag, "nothing was written"
    assert (await thing.patch(1, "*"))[0] == 200
    for lines in ('"nope", {}',), ('{},W/"x"',), ('"a,b"', "{}"), ("{}",):
        tag = await thing.etag()
        assert (await thing.patch(2, *(line.format(tag) for line in lines)))[0] == 200, lines
        assert (await thing.patch(3))[0] == 200, "without it, as ever"


async def test_of_many_at_once_one_writes(thing: Thing) -> None:
    for _ in range(3):
        tag = await thing.etag()
        answers = await asyncio.gather(*(thing.patch(number, tag) for number in range(10, 10 + MANY)))
        assert Counter(status for status, _ in answers) == {200: 1, 412: MANY - 1}
        (written,) = [body for status, body in answers if status == 200]
        assert await thing.value() == written[thing.member]
        await thing.patch(1)


async def test_what_is_not_there_or_makes_no_sense_is_told_before(api: ApiClient, thing: Thing) -> None:
    there = await thing.etag()
    assert (await Thing(api, f"{thing.path[:9]}/none", "name").patch(1, there))[0] == 404
    assert (await Thing(api, f"{thing.path[:9]}/none", "name").patch(1, "*"))[0] == 404
    assert (await thing.patch(1, '"nope"', json={"unknown": 1}))[0] == 422


async def test_a_webhook_that_was_changed_since_is_not_deleted(api: ApiClient) -> None:
    made = await api.post("/webhooks", {"url": "http://127.0.0.1:9/"}, 201)
    hook = Thing(api, f"/webhooks/{made['id']}", "url")
    read = await hook.etag()
    await hook.patch(1)
    await api.problem("DELETE", hook.path, 412, headers={"If-Match": read})
    await api.call("DELETE", hook.path, headers={"If-Match": await hook.etag()})
    await api.problem("DELETE", hook.path, 404, headers={"If-Match": "*"})


async def test_a_supplier_that_was_changed_since_is_not_reset(api: ApiClient) -> None:
    supplier = Thing(api, "/suppliers/A23", "name")
    read = await supplier.etag()
    await supplier.patch(8)
    await api.problem("POST", f"{supplier.path}/reset", 412, headers={"If-Match": read})
    refused = (await api.get("/audit?action=resetSupplier&limit=1"))["items"][0]
    assert refused["result"] == "refused"
    await api.call("POST", f"{supplier.path}/reset", headers={"If-Match": await supplier.etag()})


async def test_a_state_that_went_out_compressed_has_a_weak_etag_and_the_answer_says_so(api: ApiClient) -> None:
    supplier = Thing(api, "/suppliers/A23", "name")
    assert (await supplier.patch(0, json={"name": "€" * 300}))[0] == 200
    status, problem = await supplier.patch(1, weak := await supplier.etag())
    assert (status, weak[:2]) == (412, "W/")
    assert "Accept-Encoding: identity" in problem["detail"]
    plain = await api.http.get("/api/v1/suppliers/A23", headers={"Accept-Encoding": "identity"})
    assert (await supplier.patch(1, plain.headers["etag"]))[0] == 200


async def test_what_was_refused_is_in_the_audit_trail_and_the_description_has_it(api: ApiClient) -> None:
    await Thing(api, "/suppliers/A23", "name").patch(1, '"nope"')
    entry = (await api.get("/audit?action=updateSupplier&limit=1"))["items"][0]
    assert (entry["result"], "If-Match" in entry["detail"]["reason"]) == ("refused", True)
    paths = (await api.get("//openapi.json"))["paths"]
    for where, method in (
        ("/suppliers/{supplierId}", "patch"), ("/webhooks/{webhookId}", "patch"), ("/webhooks/{webhookId}", "delete"),
        ("/suppliers/{supplierId}/reset", "post"),
    ):  # fmt: skip
        operation = paths[f"/api/v1{where}"][method]
        assert "412" in operation["responses"]
        assert [part["in"] for part in operation["parameters"] if part["name"] == "If-Match"] == ["header"]
        read = where.removesuffix("/reset")
        assert "ETag" in paths[f"/api/v1{read}"]["get"]["responses"]["200"]["headers"]
