"""A direct sync, end to end on real parts: what the feed says is what the catalogue has."""

from __future__ import annotations

from tests.support.stack import Stack


async def test_a_cold_sync_completes_and_its_summary_adds_up(stack: Stack) -> None:
    results = await stack.sync()
    assert [result.errors for result in results] == [0, 0]
    for supplier in ("A23", "A360"):
        run = await stack.run(supplier)
        assert (run["status"], run["error"], run["open_jobs"]) == ("completed", None, 0)
        assert run["manifest_entries"] == run["manifest_new"] == run["documents_fetched"]
        assert run["families_total"] == run["families_completed"] > 0
        assert run["images_total"] == run["images_uploaded"] + run["images_deduplicated"]
    assert await stack.value("SELECT count(*) FROM problems") == 0
    created = await stack.value("SELECT sum(variants_created) FROM runs")
    assert created == await stack.value("SELECT count(*) FROM variants")


async def test_a_second_sync_of_an_unchanged_feed_asks_for_the_manifest_alone(stack: Stack) -> None:
    await stack.sync()
    stack.server.log.reset()
    results = await stack.sync()
    assert dict(stack.server.log.counts) == {"manifest": 2}
    assert [result.products_processed for result in results] == [0, 0]


async def test_changes_of_a_direct_sync_are_numbered_without_any_worker(stack: Stack) -> None:
    await stack.sync("A23")
    numbers = [row["seq"] for row in await stack.rows("SELECT seq FROM changes ORDER BY id")]
    assert numbers == list(range(1, len(numbers) + 1))
