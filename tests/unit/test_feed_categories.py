import contextlib
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CategoriesRefused
from app.feed.categories import CategoryData, read_categories

CSV = (
    "KEY;de;en;nl;fr\r\nBAGS;Taschen;Bags;Tassen;Sacs\r\n"
    'BAGS/SHOPPING_BAGS;"Taschen; groß";;" Tas ""XL"""\r\n\r\n;x\r\n'
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_categories_are_read_by_key_and_language(encoding: str) -> None:
    assert read_categories(CSV.encode(encoding)) == [
        CategoryData("BAGS", {"de": "Taschen", "en": "Bags", "nl": "Tassen", "fr": "Sacs"}),
        CategoryData("BAGS/SHOPPING_BAGS", {"de": "Taschen; groß", "nl": 'Tas "XL"'}),
    ]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_line_of_another_encoding_does_not_change_how_the_others_are_read(mark: bytes, line_end: bytes) -> None:
    lines = [
        b"KEY;de",
        b"A;Schl\xc3\xbcssel",
        b"B;b\xfcrste \x80",
        b'C;"\xc3\x84pfel',
        b'wei\xdf"',
    ]
    assert read_categories(mark + line_end.join(lines)) == [
        CategoryData("A", {"de": "Schlüssel"}),
        CategoryData("B", {"de": "bürste €"}),
        CategoryData("C", {"de": f"Äpfel{line_end.decode()}weiß"}),
    ]


def test_the_last_line_of_a_key_counts() -> None:
    assert read_categories(b"KEY;nl\nA;een\nA;twee") == [CategoryData("A", {"nl": "twee"})]


def test_a_header_alone_has_no_categories() -> None:
    assert read_categories(b"KEY;nl\n") == []


@pytest.mark.parametrize(
    "body",
    [b"", b"\n", b"<html>Log in</html>", b"a;b\nc;d", b"KEY,nl\nA,een", "KEY;nl\nA;een".encode("utf-16-le"),
    ],
)  # fmt: skip
def test_what_has_no_header_with_keys_is_no_category_file(body: bytes) -> None:
    with pytest.raises(CategoriesRefused, match="KEY"):
        read_categories(body)


def test_what_postgresql_refuses_is_left_out() -> None:
    assert read_categories(b"KEY;n\0l\nA\0;ee\0n") == [CategoryData("A", {"nl": "een"})]


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything(body: bytes) -> None:
    with contextlib.suppress(CategoriesRefused):
        read_categories(b"KEY;nl\n" + body)
    with contextlib.suppress(CategoriesRefused):
        read_categories(body)


@pytest.mark.parametrize(
    "lines",
    [
        ["KEY;nl;de", "A;een;eins", 'B;"twee;zwei', "C;drie;drei"],
        ["KEY;nl;de", 'A;"een;eins', 'B;"twee";zwei', "C;drie;drei"],
        ['"KEY;nl;de', "A;een;eins"],
        ["KEY;nl;de", 'A;een;"' + "x" * 200_000],
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_a_quote_that_never_ends_is_told_and_takes_no_line_along(lines: list[str], line_end: str) -> None:
    with pytest.raises(CategoriesRefused, match="is never closed"):
        read_categories(line_end.join(lines).encode())


@pytest.mark.parametrize("line_end", ["\n", "\r"])
def test_a_name_of_line_ends_is_read_at_once(line_end: str) -> None:
    body = f'KEY;de\nA;"x{line_end * 130_000}"\nB;y'.encode()
    began = process_time()
    assert read_categories(body) == [CategoryData("A", {"de": "x"}), CategoryData("B", {"de": "y"})]
    assert process_time() - began < 1


def test_a_quote_inside_a_name_is_one() -> None:
    assert read_categories(b'KEY;nl\nA;5" scherm\nB;"19"" scherm"') == [
        CategoryData("A", {"nl": '5" scherm'}),
        CategoryData("B", {"nl": '19" scherm'}),
    ]


def test_a_name_may_go_over_two_lines_and_the_header_may_stand_below_blank_ones() -> None:
    assert read_categories(b'\n \r\nKEY;nl\nA;"een\ntwee"\nB;x') == [
        CategoryData("A", {"nl": "een\ntwee"}),
        CategoryData("B", {"nl": "x"}),
    ]
