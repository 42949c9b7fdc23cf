"""What a session is told at its start and what in each transaction: `app/persistence/sessions.py`."""

from __future__ import annotations

import pytest

from app.persistence.database_address import read_address
from app.persistence.sessions import connect_arguments, openings, read_options


@pytest.mark.parametrize(
    ("options", "settings", "left"),
    [
        ("", {}, ""),
        ("-csearch_path=shop", {"search_path": "shop"}, ""),
        ("-c search_path=shop,public --work-mem=7MB", {"search_path": "shop,public", "work_mem": "7MB"}, ""),
        (r"-c application_name=two\ words", {"application_name": "two words"}, ""),
        ("endpoint=ep-cool-1 -c jit=off", {"jit": "off"}, "endpoint=ep-cool-1"),
    ],
)
def test_options_are_read_as_a_server_reads_its_command_line(options: str, settings: dict[str, str], left: str) -> None:
    assert read_options(options) == (settings, left)


def test_a_pooler_is_told_nothing_at_the_start_but_the_name_and_what_routes() -> None:
    address = read_address("postgresql://u@h/d?options=endpoint%3Dep-1%20-csearch_path%3Dshop")
    told = connect_arguments(address, pooler=True)["server_settings"]
    assert told == {"application_name": "promidata-sync", "options": "endpoint=ep-1"}


def test_no_value_of_options_ends_its_quotes() -> None:
    address = read_address(r"postgresql://u@h/d?options=-csearch_path%3Da'b%5C%5Cc")
    assert r"set_config(E'search_path', E'a''b\\c', true)" in openings(address, pooler=True).durable
