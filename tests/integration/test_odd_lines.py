"""A manifest line that turns unreadable is not believed at once to be a document that is gone (ENGINE.md 4)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import cache

import pytest

from app.samplefeed import FeedSpec, SampleFeed
from app.sync.operating.dry_run import dry_run
from app.sync.operating.start import StartRequest
from tests.conftest import MakeStack
from tests.integration.test_feed_corners import confirm
from tests.support.stack import Servers, Stack, open_stack

NAMES_ITS_SUPPLIER: dict[str, Callable[[str], str]] = {
    "another scheme": lambda line: line.replace("http:", "htps:"),
    "a name that is cut": lambda line: line.replace(".json|", ".js|"),
    "a foreign host": lambda line: line.replace("127.0.0.1", "elsewhere.example"),
    "a token in the address": lambda line: line.replace(".json|", ".json?v=2|"),
    "a second bar": lambda line: line + "|again",
    "a hash without an end": lambda line: line + "f" * 300,
    "a control character": lambda line: line.replace(".json|", "\x01.json|"),
}
NAMES_NONE: dict[str, Callable[[str], str]] = {
    "nothing at all": lambda _: "~~~",
    "a line of its start alone": lambda line: line[:12],
    "a supplier without entries": lambda line: line.replace("/A23/", "/A2/").replace("http:", "htps:"),
}


SUPPLIERS = ("A23", "A360")
SPEC = FeedSpec.small(count=len(SUPPLIERS), families=8, variants=1, oddities=False)


@pytest.fixture(scope="module")
async def shared(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with open_stack(servers, tmp_path_factory.mktemp("stack"), SampleFeed(SPEC)) as stack:
        yield stack


@pytest.fixture
async def stack(shared: Stack) -> Stack:
    """The module's, with the whole feed in its catalogue and nothing odd, whatever the test before made of it."""
    shared.feed.style_manifest(raw=None, lines_before=[])
    for supplier in SUPPLIERS:
        for sku in skus_of(supplier):
            shared.feed.restore_family(sku)
    await shared.sync()
    assert [(await shared.run(supplier))["status"] for supplier in SUPPLIERS] == ["completed"] * len(SUPPLIERS)
    assert await shared.value("SELECT count(*) FROM products WHERE status = 'active'") == 16
    return shared


@cache
def skus_of(supplier: str) -> list[str]:
    return [entry.file_name.removesuffix(".json") for entry in SampleFeed(SPEC).entries(supplier)]


def turn_odd(feed: SampleFeed, sku: str, turned: Callable[[str], str]) -> None:
    lines = feed.manifest().decode().splitlines()
    feed.set_manifest("\n".join(turned(line) if f"/{sku}.json" in line else line for line in lines).encode())


async def gone(stack: Stack) -> set[str]:
    rows = await stack.rows("SELECT sku FROM products WHERE status = 'discontinued'")
    return {row["sku"] for row in rows}


async def held(stack: Stack, supplier: str) -> bool:
    run = await stack.run(supplier)
    kinds = {row["kind"] for row in await stack.problems(supplier)}
    assert (run["guard"] is not None) == (run["status"] == "completed_with_errors") == ("guard" in kinds)
    if run["guard"] is None:
        assert (run["status"], run["error"]) == ("completed", None)
        return False
    assert "could not be read" in run["error"]
    assert (run["guard"]["wouldRemove"], run["guard"]["active"]) == (1, 8)
    assert run["guard"]["manifestSha256"] == run["manifest_sha256"]
    return True


@pytest.mark.parametrize(
    ("turned", "holds_all"),
    [*((turned, False) for turned in NAMES_ITS_SUPPLIER.values()), *((turned, True) for turned in NAMES_NONE.values())],
    ids=[*NAMES_ITS_SUPPLIER, *NAMES_NONE],
)
async def test_a_line_that_turns_unreadable_holds_removals_back_this_once(
    stack: Stack, turned: Callable[[str], str], holds_all: bool
) -> None:
    """Of the supplier that it names, of all where it names none; in the second manifest in a row it is believed."""
    odd, other = skus_of("A23")[3], skus_of("A360")[2]
    stack.feed.hide_family(other)
    turn_odd(stack.feed, odd, turned)
    await stack.sync()
    assert (await held(stack, "A23"), await held(stack, "A360")) == (True, holds_all)
    assert await gone(stack) == (set() if holds_all else {other})
    await stack.sync()
    assert (await held(stack, "A23"), await held(stack, "A360")) == (False, False)
    assert await gone(stack) == {odd, other}


async def test_a_line_that_was_odd_once_leaves_no_trace(stack: Stack) -> None:
    """And is held back again when it turns odd again."""
    odd = skus_of("A23")[3]
    changes = await stack.value("SELECT count(*) FROM changes")
    for _ in range(2):
        turn_odd(stack.feed, odd, NAMES_ITS_SUPPLIER["another scheme"])
        await stack.sync()
        assert await held(stack, "A23")
        stack.feed.set_manifest(None)
        await stack.sync()
        assert not await held(stack, "A23")
    assert await stack.value("SELECT count(*) FROM changes") == changes


async def test_a_line_that_is_always_odd_blocks_nothing(stack: Stack) -> None:
    stack.feed.style_manifest(lines_before=["# made by the feed", f"{stack.feed.base_url}/A23/readme.txt|aa"])
    await stack.sync()
    removed = skus_of("A23")[1]
    stack.feed.remove_family(removed)
    stack.feed.change_price(skus_of("A23")[2])
    await stack.sync()
    assert not await held(stack, "A23")
    assert await gone(stack) == {removed}


async def test_a_new_odd_line_without_anything_to_remove_is_a_warning_alone(stack: Stack) -> None:
    stack.feed.style_manifest(lines_before=["# made by the feed"])
    await stack.sync()
    assert not await held(stack, "A23")
    assert [row["kind"] for row in await stack.problems("A23")] == ["manifest-line"]


async def test_each_supplier_compares_with_the_manifest_that_it_was_synced_with(stack: Stack) -> None:
    odd, other = skus_of("A23")[3], skus_of("A360")[2]
    stack.feed.hide_family(other)
    turn_odd(stack.feed, odd, NAMES_NONE["nothing at all"])
    await stack.sync("A23")
    await stack.sync("A23")
    assert await gone(stack) == {odd}
    await stack.sync("A360")
    assert await held(stack, "A360")
    await stack.sync("A360")
    assert await gone(stack) == {odd, other}


async def test_a_dry_run_says_what_is_held_back_and_changes_nothing_of_it(stack: Stack) -> None:
    turn_odd(stack.feed, skus_of("A23")[3], NAMES_ITS_SUPPLIER["another scheme"])
    for _ in range(2):
        said = {result.supplier: result for result in await dry_run(stack.services, StartRequest())}
        guard = said["A23"].guard
        assert guard is not None
        assert guard["wouldRemove"] == 1
        assert said["A360"].guard is None
    await stack.sync()
    assert await held(stack, "A23")
    assert (await dry_run(stack.services, StartRequest(supplier="A23")))[0].guard is None


async def test_an_operator_may_confirm_what_an_odd_line_holds_back(make_stack: MakeStack) -> None:
    odd = skus_of("A23")[3]
    feed = SampleFeed(SPEC)
    async with make_stack(feed, remove_after_runs=3) as stack:
        await stack.sync()
        turn_odd(feed, odd, NAMES_ITS_SUPPLIER["another scheme"])
        await stack.sync("A23")
        assert await held(stack, "A23")
        await confirm(stack, str((await stack.run("A23"))["manifest_sha256"]))
        assert await gone(stack) == {odd}
