"""`promidata-sync reparse`: the stored documents are read anew, and the origin is not asked."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from tests.support.command_line import command, environment_of
from tests.support.databases import fresh_database
from tests.support.stack import Stack

SPOIL = (
    "UPDATE variants SET content = content - 'ean', content_digest = '\\x00' WHERE content ? 'ean'",
    "UPDATE prices SET tiers = '[]'",
    "UPDATE variants SET prices_digest = '\\x00'",
)
READING = """
SELECT v.sku, v.content, v.content_digest, v.prices_digest, p.tiers
FROM variants v JOIN prices p ON p.variant_id = v.id JOIN suppliers s ON s.id = v.supplier_id
WHERE s.code = :code ORDER BY v.sku"""


async def _spoil(stack: Stack) -> None:
    """Leave the catalogue as a poorer reading of the same documents would have."""
    async with stack.services.database.begin() as db:
        for statement in SPOIL:
            await db.execute(text(statement))


async def test_a_reparse_restores_what_another_reading_left_out_without_asking_the_origin(
    stack: Stack, tmp_path: Path
) -> None:
    await stack.sync()
    before = {code: await stack.rows(READING, code=code) for code in ("A23", "A360")}
    head = await stack.value("SELECT seq FROM change_head")
    await _spoil(stack)
    stack.server.log.reset()
    ended = await command(tmp_path, environment_of(stack), "reparse", "A23", "--direct", "--json")
    assert ended.code == 0, ended
    assert stack.server.log.requests == []
    (run,) = ended.json
    assert (run["status"], run["trigger"]) == ("completed", "cli")
    assert run["families"]["completed"] == run["families"]["total"] == 4
    assert run["variants"]["updated"] == len(before["A23"])
    assert await stack.rows(READING, code="A23") == before["A23"]
    assert await stack.rows(READING, code="A360") != before["A360"], "the other supplier is left alone"
    changed = await stack.rows(
        "SELECT DISTINCT fields FROM changes WHERE seq > :head AND entity = 'variant'", head=head
    )
    assert changed == [{"fields": ["ean", "prices"]}]


async def test_a_second_reparse_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    await stack.sync("A23")
    head = await stack.value("SELECT seq FROM change_head")
    ended = await command(tmp_path, environment_of(stack), "reparse", "A23", "--direct", "--json")
    assert ended.code == 0, ended
    assert ended.json[0]["variants"]["updated"] == 0
    assert await stack.value("SELECT seq FROM change_head") == head


async def test_a_queued_reparse_is_a_run_with_that_option_and_refused_beside_another_run(
    stack: Stack, tmp_path: Path
) -> None:
    env = environment_of(stack)
    first = await command(tmp_path, env, "reparse", "A23", "--json")
    assert first.json[0]["status"] == "enqueued"
    assert (await stack.run("A23"))["options"]["reparse"] is True
    second = await command(tmp_path, env, "reparse")
    assert second.code == 1
    assert "a sync of A23 is under way" in second.err
    assert await stack.value("SELECT count(*) FROM runs") == 1


async def test_a_reparse_of_nothing_says_that_a_sync_comes_first(stack: Stack, tmp_path: Path) -> None:
    assert stack.settings.database_url is not None
    async with fresh_database(stack.settings.database_url.get_secret_value()) as url:
        ended = await command(tmp_path, environment_of(stack) | {"DATABASE_URL": url}, "reparse", "--direct")
    assert ended.code == 1
    assert "sync` comes first" in ended.err
