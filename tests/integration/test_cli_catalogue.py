"""`promidata-sync suppliers` and `explain` on a real catalogue."""

from __future__ import annotations

from pathlib import Path

from tests.support.command_line import command, environment_of
from tests.support.databases import fresh_database
from tests.support.sample_requests import SKU
from tests.support.stack import Stack


async def test_suppliers_are_listed_with_their_last_run(stack: Stack, tmp_path: Path) -> None:
    await stack.sync("A23")
    env = environment_of(stack)
    table = await command(tmp_path, env, "suppliers")
    assert table.code == 0, table
    lines = table.out.splitlines()
    assert lines[2].endswith("  completed")
    assert [line for line in lines if not line.startswith(" ")] == ["A23", "A360"]
    listed = await command(tmp_path, env, "suppliers", "--json")
    assert [supplier["code"] for supplier in listed.json] == ["A23", "A360"]
    assert (listed.json[0]["lastRun"]["status"], listed.json[1]["lastRun"]) == ("completed", None)
    assert listed.json[0]["isActive"] is True
    assert "id" not in listed.json[0]


async def test_suppliers_that_the_feed_names_are_added_when_asked(stack: Stack, tmp_path: Path) -> None:
    assert stack.settings.database_url is not None
    async with fresh_database(stack.settings.database_url.get_secret_value()) as url:
        env = environment_of(stack) | {"DATABASE_URL": url}
        none = await command(tmp_path, env, "suppliers")
        added = await command(tmp_path, env, "suppliers", "--discover")
        again = await command(tmp_path, env, "suppliers", "--discover", "--json")
    assert "no suppliers" in none.out
    assert "new: A23, A360" in added.out
    assert [supplier["isNew"] for supplier in again.json] == [False, False]


async def test_explain_says_how_far_a_document_was_taken(stack: Stack, tmp_path: Path) -> None:
    await stack.sync("A23")
    env = environment_of(stack)
    taken = await command(tmp_path, env, "explain", SKU)
    assert taken.code == 0, taken
    assert f"{SKU} of A23: active" in taken.out
    assert "applied" in next(line for line in taken.out.splitlines() if line.strip().startswith(f"{SKU}.json"))
    assert "pictures: 0 pending, 0 failed" in taken.out
    json = await command(tmp_path, env, "explain", SKU, "--supplier", "A23", "--json")
    (document,) = json.json["documents"]
    assert document["seenHash"] == document["appliedHash"]
    assert "7c1f6a52" not in json.out, "the feed's address is a credential"
    missing = await command(tmp_path, env, "explain", "nothing")
    assert (missing.code, missing.err) == (1, "error: there is no product nothing, and no document of that name\n")


async def test_explain_asks_whose_product_is_meant(stack: Stack, tmp_path: Path) -> None:
    await stack.sync()
    async with stack.services.database.begin() as db:
        await db.exec_driver_sql(
            f"UPDATE products SET sku = '{SKU}' WHERE id = (SELECT max(p.id) FROM products p "
            "JOIN suppliers s ON s.id = p.supplier_id WHERE s.code = 'A360')"
        )
    ended = await command(tmp_path, environment_of(stack), "explain", SKU)
    assert (ended.code, ended.err) == (
        1,
        f"error: several suppliers have {SKU}: A23 and A360: name one with --supplier\n",
    )
