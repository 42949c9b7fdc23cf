"""The API's small parts: cursors, masking, the local door, paths, buying prices, schedules."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from msgspec import Struct

from app.api import cursors, local_door, path_segments
from app.api.auth import find_caller
from app.api.cursors import (
    AfterCategory,
    AfterEntry,
    AfterRun,
    AfterSupplier,
    AfterTime,
    AfterWebhook,
    AfterWorker,
    from_micros,
    read_cursor,
    to_micros,
    write_cursor,
)
from app.api.kept_bodies import LARGEST_SHARE, OVERHEAD_BYTES, Body, KeptBodies
from app.api.problems import ProblemError
from app.logs import mask_address
from app.main import ROUTERS
from app.settings import ApiKey, Settings
from app.views import buying_prices
from app.views.masking import mask_base
from app.views.shapes import epoch_ms

RUN_ID = "5b0c9c1e-0d7c-4f5e-9a53-0c7ad4f4d1c8"
BASE = "https://promi-dl.de/Profiles/Live/0f3c9a2e-1111-2222"


def settings(base: str = BASE) -> Settings:
    return Settings.model_validate({"promidata_base_url": base})


def test_a_cursor_gives_its_key_back_to_the_microsecond() -> None:
    moment = datetime(2026, 1, 5, 3, 0, 0, 123457, tzinfo=UTC)
    cursor = write_cursor(AfterTime(to_micros(moment), "image-1"))
    read = read_cursor(AfterTime, cursor)
    assert read == AfterTime(to_micros(moment), "image-1")
    assert read is not None
    assert from_micros(read.micros) == moment
    assert cursor.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("kind", "cursor"),
    [
        (AfterRun, write_cursor(AfterTime(1, "image-1"))),
        (AfterSupplier, write_cursor(AfterCategory("BAGS"))),
        (AfterCategory, write_cursor(AfterSupplier("BAGS"))),
        (AfterWorker, write_cursor(AfterCategory("BAGS"))),
        (AfterWebhook, write_cursor(AfterRun(1, RUN_ID))),
        (AfterEntry, write_cursor(AfterTime(1, "7"))),
        (AfterRun, urlsafe_b64encode(b"[" * 10_000).decode()),
    ],
    ids=["a run's", "a category's", "a supplier's", "for workers", "a webhook's", "an entry's", "nothing's, and deep"],
)
def test_a_cursor_of_another_list_is_refused(kind: type[Struct], cursor: str) -> None:
    with pytest.raises(ProblemError) as refused:
        read_cursor(kind, cursor)
    assert refused.value.status == 422


def test_no_two_lists_have_cursors_of_one_kind() -> None:
    kinds = [kind for kind in vars(cursors).values() if isinstance(kind, type) and issubclass(kind, Struct)]
    tags = [kind.__struct_config__.tag for kind in kinds]
    assert len(set(tags)) == len(tags) > 10


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (AfterRun, f'["r",1796064283766034,"{RUN_ID}\\n"]'),
        (AfterWebhook, f'["h",1796064283766034,"{RUN_ID}\\n"]'),
        (AfterEntry, f'["a",0,{"9" * 30}]'),
        (AfterEntry, f'["a",0,{"9" * 5000}]'),
        (AfterTime, r'["t",0,"\u0000"]'),
        (AfterTime, r'["t",0,"a\u0000\n"]'),
    ],
)
def test_a_forged_cursor_is_refused_before_it_gets_to_the_database(kind: type[Struct], key: str) -> None:
    with pytest.raises(ProblemError) as refused:
        read_cursor(kind, urlsafe_b64encode(key.encode()).decode())
    assert refused.value.status == 422


def test_no_cursor_is_the_beginning() -> None:
    assert read_cursor(AfterRun, None) is None
    assert read_cursor(AfterRun, "") is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"{BASE}/A23/A23-1.json", "https://promi-dl.de/Profiles/Live/0f3c…/A23/A23-1.json"),
        ("no answer from 0f3c9a2e-1111-2222", "no answer from 0f3c…"),
        ("https://old.example/Profiles/Live/99887766-5544/A23/x.json", "https://old.example/Profiles/Live/9988…/A23/x.json"),
        ("http://user:word@host/x.json", "http://host/x.json"),
        ("https://images.promi-dl.de/Images/LiveR2/5b0c9c1e-0d7c/1f2e.jpg", "https://images.promi-dl.de/Images/LiveR2/5b0c9c1e-0d7c/1f2e.jpg"),
        ("the origin answered 404", "the origin answered 404"),
    ],
)  # fmt: skip
def test_only_what_is_secret_of_an_address_is_masked(text: str, shown: str) -> None:
    assert mask_base(settings(), text) == shown


def scope(**changes: Any) -> dict[str, Any]:
    headers = {"host": "localhost:8000", **changes.pop("headers", {})}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": "http", "method": "POST", "client": ("127.0.0.1", 5), "server": ("127.0.0.1", 8000), "headers": raw,
    } | changes  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"client": None},
        {"client": ("::1", 5), "server": ("::1", 8000)},
        {"client": ("::ffff:127.0.0.1", 5)},
        {"server": ("/run/promidata.sock", None)},
        {"headers": {"origin": "http://localhost:8000"}},
        {"headers": {"sec-fetch-site": "none"}},
        {"method": "GET", "headers": {"origin": "https://evil.example"}},
    ],
)
def test_the_local_door_lets_this_machine_in(changes: dict[str, Any]) -> None:
    assert local_door.refusal(scope(**changes)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"client": ("10.0.0.7", 5)},
        {"server": ("192.168.1.2", 8000)},
        {"headers": {"host": "evil.example"}},
        {"headers": {"host": "["}},
        {"headers": {"origin": "http://localhost:9000"}},
        {"headers": {"sec-fetch-site": "cross-site"}},
    ],
)
def test_the_local_door_keeps_others_out(changes: dict[str, Any]) -> None:
    assert local_door.refusal(scope(**changes)) is not None


def test_a_sku_is_the_same_after_its_way_through_a_path() -> None:
    convertor = path_segments.SegmentConvertor()
    for sku in ("A/B", "100%", "%2F", "a b", "ä", "/", "%"):
        assert convertor.convert(convertor.to_string(sku)) == sku


def test_buying_prices_go_at_any_depth() -> None:
    kept = {"kind": "selling", "price": "1"}
    value = {
        "prices": [kept, {"kind": "buying", "price": "0.5"}],
        "imprintPositions": [
            {"options": [{"prices": [{"kind": "buying"}], "costs": [{"prices": [{"kind": "buying"}]}]}]}
        ],
        "attributes": {"sample": {"GeneralBuyingPrice": [1], "other": 2}},
    }  # fmt: skip
    assert buying_prices.without_buying(value) == {
        "prices": [kept],
        "imprintPositions": [{"options": [{"prices": [], "costs": [{"prices": []}]}]}],
        "attributes": {"sample": {"other": 2}},
    }


def test_a_key_is_found_by_its_secret_alone() -> None:
    keys = [ApiKey.parse("a:viewer:one-of-16-characters"), ApiKey.parse("b:admin:two:three-of-16-characters")]
    found = find_caller(keys, "two:three-of-16-characters")
    assert found is not None
    assert (found.name, found.role) == ("b", "admin")
    assert find_caller(keys, "two") is None
    assert find_caller(keys, "zwölf") is None


def test_times_are_whole_milliseconds() -> None:
    assert epoch_ms(datetime(2024, 10, 27, 3, 33, 20, 500_000, tzinfo=UTC)) == 1730000000500
    assert epoch_ms(None) is None


@pytest.mark.parametrize("profile", ["hunter", "s3c", "topsecret", "0f3c9a2e-aaaa-bbbb"])
def test_a_profiles_id_is_masked_whatever_it_looks_like(profile: str) -> None:
    base = f"https://promi-dl.de/Profiles/Live/{profile}"
    settings = Settings.model_validate({"promidata_base_url": base})
    for text in (f"{base}/Z9/Z9-1.json", f"could not read {base}/Import/Import.txt: HTTP 500", base):
        assert profile not in mask_base(settings, text)
    assert profile not in mask_address(f"{base}/Import/Import.txt")


def test_a_base_address_of_another_shape_is_masked_too() -> None:
    settings = Settings.model_validate({"promidata_base_url": "https://example.com/feeds/hunter2"})
    shown = mask_base(settings, "https://example.com/feeds/hunter2/A23/A23-1.json")
    assert "hunter2" not in shown
    assert shown.endswith("/A23/A23-1.json")


def _calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    for part in dependant.dependencies:
        assert part.call is not None
        yield part.call
        yield from _calls(part)


def test_no_request_hops_to_a_thread_for_a_dependency_or_its_endpoint() -> None:
    routes = [route for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)]
    calls = {call for route in routes for call in (route.endpoint, *_calls(route.dependant))}
    coroutines = {call for call in calls if iscoroutinefunction(call) or isasyncgenfunction(call)}
    plain = {call for call in calls - coroutines if not iscoroutinefunction(type(call).__call__)}
    assert len(calls) > 80
    assert plain == set()


def test_kept_bodies_stay_below_their_bound_and_the_one_not_asked_for_goes_first() -> None:
    size = 1000
    kept = KeptBodies(LARGEST_SHARE * (size + OVERHEAD_BYTES))
    bodies = {f"W/{number}": Body(bytes([number]) * size, "gzip") for number in range(LARGEST_SHARE + 1)}
    for etag, body in bodies.items():
        kept.keep(etag, "gzip", body)
        kept.keep(etag, "gzip", body)
        assert kept.find("W/0", "gzip") == bodies["W/0"]
    assert [etag for etag in bodies if kept.find(etag, "gzip") is None] == ["W/1"]
    assert kept.find("W/0", None) is None
    kept.keep("W/large", None, Body(b"x" * (size + OVERHEAD_BYTES + 1), None))
    assert kept.find("W/large", None) is None
