import codecs
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import ManifestUnreadable
from app.feed.manifest import INVALID_KEPT, ManifestData, ManifestEntry, read_manifest, request_url, split_line

BASE = "https://promi-dl.de/Profiles/Live/guid"
SHA = "0123456789abcdef0123456789ABCDEF01234567"
GOOD = f"{BASE}/A23/A23-100804.json|{SHA}"


def read(*lines: str, end: str = "\n", hosts: tuple[str, ...] = ()) -> ManifestData:
    return read_manifest(end.join(lines).encode(), base_url=BASE, allowed_hosts=hosts)


def names(data: ManifestData) -> dict[str, list[str]]:
    return {supplier: list(entries) for supplier, entries in data.entries.items()}


def test_a_line_is_an_address_and_a_hash() -> None:
    data = read(f"{BASE}/Import/CAT.csv|aa", "", f"  {BASE}/A23/A23-100804.json|{SHA}  ")
    url = f"{BASE}/A23/A23-100804.json"
    assert data.entries == {"A23": {"A23-100804.json": ManifestEntry("A23", "A23-100804.json", url, SHA.lower(), 3)}}
    assert (data.total, data.invalid, data.invalid_total, data.last_line_cut) == (1, [], 0, False)
    assert data.entries_of("A23")[0].line == 3
    assert data.entries_of("A24") == []


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", " \r\n\t\r\n"])
def test_line_ends_blanks_and_marks_do_not_matter(mark: bytes, end: str) -> None:
    body = mark + end.join([GOOD, f"{BASE}/A24/B.json|{SHA}"]).encode() + end.encode()
    data = read_manifest(body, base_url=BASE, allowed_hosts=())
    assert names(data) == {"A23": ["A23-100804.json"], "A24": ["B.json"]}
    assert data.invalid == []


def test_a_manifest_in_utf_16_is_text_too() -> None:
    assert read_manifest(GOOD.encode("utf-16"), base_url=BASE, allowed_hosts=()).total == 1


@pytest.mark.parametrize("line", [f"{BASE}/A23/a.json", f"{BASE}/A23/a.json|", f"{BASE}/A23/a.json|  "])
def test_a_line_without_a_hash_is_an_entry_without_one(line: str) -> None:
    data = read(line, GOOD)
    assert data.entries["A23"]["a.json"].hash is None
    assert data.invalid == []


def test_the_same_address_twice_counts_once_by_its_last_line() -> None:
    data = read(f"{BASE}/A23/a.json|1111", GOOD, f"{BASE}/A23/a.json|2222")
    assert (data.entries["A23"]["a.json"].hash, data.entries["A23"]["a.json"].line, data.total) == ("2222", 3, 2)


@pytest.mark.parametrize(
    ("path", "supplier", "name"),
    [
        ("A23/A%20B.json", "A23", "A B.json"),
        ("A23/A B.json", "A23", "A B.json"),
        ("A23/M\u00fctze.json", "A23", "M\u00fctze.json"),
        ("A23/M%C3%BCtze.json", "A23", "M\u00fctze.json"),
        ("A23/M%FCtze.json", "A23", "M%FCtze.json"),
        ("A23/a%2Fb%25+.json", "A23", "a/b%+.json"),
        ("A23/a%00.json", "A23", "a%00.json"),
        ("A23/100%.json", "A23", "100%.json"),
        ("a23/A.JSON", "a23", "A.JSON"),
        ("A%2023/a|b.json", "A 23", "a|b.json"),
        ("deeper/A23/a.json", "A23", "a.json"),
    ],
)
def test_supplier_and_file_name_are_decoded_once_and_keep_their_case(path: str, supplier: str, name: str) -> None:
    data = read(f"{BASE}/{path}|{SHA}")
    assert names(data) == {supplier: [name]}
    assert data.entries[supplier][name].url == f"{BASE}/{path}"


def test_bytes_that_are_no_utf_8_are_asked_for_as_they_are() -> None:
    data = read_manifest(f"{BASE}/A23/M\u00fctze.json|{SHA}".encode("latin-1"), base_url=BASE, allowed_hosts=())
    assert [request_url(entry.url) for entry in data.entries_of("A23")] == [f"{BASE}/A23/M%FCtze.json"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("nothing at all", "not an address"),
        ("ftp://promi-dl.de/A23/a.json|aa", "not an http"),
        ("/A23/a.json|aa", "not an http"),
        ("https:///A23/a.json|aa", "not an http"),
        ("https://other.example/A23/a.json|aa", "other.example is not the feed's"),
        ("https://promi-dl.de@other.example/A23/a.json|aa", "user name"),
        ("https://other.example\\@promi-dl.de/A23/a.json|aa", "user name or a backslash"),
        ("https://promi-dl.de:port/A23/a.json|aa", "not an address"),
        ("https://promi-dl.de:0/A23/a.json|aa", "port 0"),
        ("https://[::1/A23/a.json|aa", "not an address"),
        ("https://promi-dl.de/a.json|aa", "no supplier"),
        (f"{BASE}/a.json|aa", "no supplier"),
        (f"{BASE}/A23/../a.json|aa", "no supplier's"),
        (f"{BASE}/A23/%2e%2E/a.json|aa", "no supplier's"),
        (f"{BASE}/%20../a.json|aa", "no supplier's"),
        (f"{BASE}/A23/a.xml|aa", "ends in .json"),
        (f"{BASE}/A23/a.json?x=1|aa", "ends in .json"),
        (f"{BASE}/A23/a?x=.json|aa", "ends in .json"),
        (f"{BASE}/A23/a.json#x|aa", "ends in .json"),
        (f"{BASE}/A23/a.json|aa|bb", "ends in .json"),
        (f"{BASE}/A23/" + "x" * 300 + ".json|aa", "too long"),
        (f"{BASE}/A23/" + "x" * 5000 + ".json|aa", "longer than"),
        (f"{BASE}/A23/a.json|" + "a" * 300, "longer than"),
        (f"{BASE}/A23/a\0.json|aa", "control"),
        (f"{BASE}/A23/a.json|a\0a", "control"),
        (f"{BASE}/" + "A" * 200 + "/a.json|aa", "no supplier's"),
    ],
)
def test_a_line_that_is_nothing_is_invalid_and_never_an_entry(line: str, reason: str) -> None:
    data = read(line, GOOD)
    assert names(data) == {"A23": ["A23-100804.json"]}
    (invalid,) = data.invalid
    assert (invalid.line, data.invalid_total) == (1, 1)
    assert reason in invalid.reason
    assert "\0" not in invalid.text_start
    assert len(invalid.text_start) <= 200


@pytest.mark.parametrize("host", ["a" + "\u0300\u0316" * 1800, "\xe4" * 2000, "\xe4." * 1500])
def test_an_endless_host_is_refused_at_once(host: str) -> None:
    lines = [f"{BASE}/A23/a.json|aa", *(f"https://{host}{number}/A23/x.json" for number in range(100))]
    began = process_time()
    assert read(*lines).invalid_total == 100
    assert process_time() - began < 1


def test_an_invalid_line_names_its_supplier_where_that_has_entries() -> None:
    data = read(GOOD, f"{BASE}/A23/a.xml|aa", f"{BASE}/A99/a.xml|aa", "rubbish")
    assert [line.supplier for line in data.invalid] == ["A23", None, None]
    assert [line.line for line in data.invalid_of("A23")] == [2, 3, 4]
    assert [line.line for line in data.invalid_of("A24")] == [3, 4]


@pytest.mark.parametrize("between", ["", " ", "|", f"|{SHA}", f"|{SHA} "])
@pytest.mark.parametrize("first", ["A24/a.json", "Import/CAT.csv"])
@pytest.mark.parametrize("second", [f"A23/b.json|{SHA}", "A23/b.json", f"Import/CAT.csv|{SHA}"])
def test_two_lines_that_ran_together_are_neither_and_may_be_any_suppliers(
    first: str, between: str, second: str
) -> None:
    data = read(GOOD, f"{BASE}/{first}{between}{BASE}/{second}", f"{BASE}/A24/c.json|{SHA}")
    assert {code: list(entries) for code, entries in data.entries.items()} == {
        "A23": ["A23-100804.json"],
        "A24": ["c.json"],
    }
    assert data.invalid_total == 1
    (line,) = data.invalid
    assert (line.line, line.reason, line.supplier) == (2, "two lines that ran together", None)
    assert data.invalid_count_of("A23") == data.invalid_count_of("A24") == 1


def test_an_odd_line_is_known_again_wherever_it_stands() -> None:
    before = read(GOOD, "rubbish", f"{BASE}/A23/a.xml|aa")
    after = read(f"{BASE}/A23/a.xml|aa", GOOD, f"{BASE}/A23/b.xml|aa", "rubbish")
    assert before.odd_lines_of("A23").not_in(before.odd_lines_of("A23")) == 0
    assert after.odd_lines_of("A23").not_in(before.odd_lines_of("A23")) == 1
    assert after.odd_lines_of("A360").not_in(before.odd_lines_of("A360")) == 0


def test_odd_lines_that_are_not_kept_are_compared_by_their_number() -> None:
    before = read(GOOD, *(f"rubbish {number}" for number in range(INVALID_KEPT + 10)))
    after = read(GOOD, *(f"rubbish {number}" for number in range(INVALID_KEPT + 11)))
    assert before.odd_lines_of("A23").beyond == 10
    assert after.odd_lines_of("A23").not_in(before.odd_lines_of("A23")) == 1


@pytest.mark.parametrize("host", ["cdn.example", "CDN.example", "cdn.example:8443"])
def test_documents_may_lie_on_listed_hosts(host: str) -> None:
    assert read("https://cdn.example:8443/x/A23/a.json|aa", hosts=(host,)).total == 1


@pytest.mark.parametrize(
    ("line_host", "listed", "is_known"),
    [
        ("cdn.example", "cdn.example:443", True),
        ("cdn.example:443", "cdn.example", True),
        ("cdn.example:80", "cdn.example:443", False),
        ("cdn.example.", "cdn.example", True),
        ("xn--bcher-kva.example", "b\u00fccher.example", True),
        ("B\u00fccher.example", "xn--bcher-kva.example", True),
        ("b\u00fccher.example:444", "b\u00fccher.example:444", True),
        ("\u00fc..example", "cdn.example", False),
    ],
)
def test_a_host_is_known_however_it_is_spelled(line_host: str, listed: str, is_known: bool) -> None:
    assert read(GOOD, f"https://{line_host}/x/A24/a.json|aa", hosts=(listed,)).total == 1 + is_known
    if is_known:
        base = f"https://{listed}/Profiles/Live/x"
        assert read_manifest(f"https://{line_host}/A24/a.json|aa".encode(), base_url=base, allowed_hosts=()).total


@pytest.mark.parametrize("known", [f"{BASE}/CAT.csv|{SHA}", f"{BASE}/Import/cat.csv", "CAT.csv|aa"])
def test_the_categories_line_is_known(known: str) -> None:
    data = read(GOOD, known)
    assert (data.total, data.invalid_total, data.last_line_cut) == (1, 0, False)


LINES = [f"{BASE}/A23/A23-{number}.json|{SHA}" for number in range(91)]


@pytest.mark.parametrize("kept", range(1, len(LINES[-1])))
def test_a_manifest_cut_anywhere_in_its_last_line_is_noticed(kept: int) -> None:
    assert read(*LINES[:-1], LINES[-1][:kept]).last_line_cut


@pytest.mark.parametrize(
    ("lines", "cut"),
    [
        (LINES, False),
        ([GOOD], False),
        ([f"{BASE}/A23/a.json", f"{BASE}/A23/b.json"], False),
        ([f"{BASE}/A23/a.json", GOOD, f"{BASE}/A23/b.json"], False),
        ([GOOD, f"{BASE}/A23/a.json|{SHA}0"], True),
        ([f"{BASE}/A23/a.json|1", f"{BASE}/A23/b.json|22", f"{BASE}/A23/c.json|333"], False),
        ([f"{BASE}/A23/a.json|4444", f"{BASE}/A23/b.json|22", f"{BASE}/A23/c.json|3"], True),
        ([GOOD, f"{BASE}/A23/a.json", f"{BASE}/CAT.csv|aa"], False),
        ([GOOD, "https://other.example/A23/a.json|aa"], True),
    ],
)
def test_a_last_line_unlike_the_others_looks_cut(lines: list[str], cut: bool) -> None:
    assert read(*lines, "", "  ").last_line_cut is cut


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (codecs.BOM_UTF8 + b" \r\n\t", "empty"),
        (b"<!DOCTYPE html><html><title>Log in</title>", "HTML"),
        (b"\n\n<html>", "HTML"),
        (bytes(range(256)) * 20, "not text"),
        (b"just words\nand more", "names no document; line 1: not an address"),
        (f"{BASE}/CAT.csv|aa".encode(), "names no document"),
    ],
)
def test_what_is_no_manifest_fails_with_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(ManifestUnreadable, match=reason):
        read_manifest(body, base_url=BASE, allowed_hosts=())


AROUND = ["\ufeff{}", "\u200b{}", "{}\u200b", " \u2060\ufeff{}\u200f\u00a0"]


@pytest.mark.parametrize("line", [f.format(a) for f in ("{}", *AROUND) for a in (GOOD, GOOD.removeprefix("https:"))])
def test_a_line_is_read_without_a_scheme_and_what_shows_nothing_around_it(line: str) -> None:
    data = read(GOOD, "", line)
    assert (data.invalid_total, data.total) == (0, 1)
    (entry,) = data.entries_of("A23")
    assert (entry.line, entry.url, entry.hash) == (3, GOOD.partition("|")[0], SHA.lower())


def test_invalid_lines_are_all_counted_and_the_first_kept() -> None:
    data = read(GOOD, *["x"] * (INVALID_KEPT + 500))
    assert (data.invalid_total, len(data.invalid)) == (INVALID_KEPT + 500, INVALID_KEPT)


def test_a_suppliers_invalid_lines_are_counted_behind_a_thousand_of_others() -> None:
    others, own = [f"{BASE}/A24/{number}.xml|aa" for number in range(INVALID_KEPT)], f"{BASE}/A23/a.xml|aa"
    data = read(GOOD, f"{BASE}/A24/a.json|aa", *others, own, own, f"{BASE}/A99/a.xml|aa")
    counted = [data.invalid_count_of(supplier) for supplier in ("A23", "A24", "A25")]
    assert counted == [3, INVALID_KEPT + 1, 1]
    without = read(GOOD, f"{BASE}/A24/a.json|aa", *others)
    assert data.odd_lines_of("A23").not_in(without.odd_lines_of("A23")) == 3


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://h/a b.json", "https://h/a%20b.json"),
        ("https://h/M\u00fctze.json", "https://h/M%C3%BCtze.json"),
        ("https://h/a%20b%2F%25+c|d.json", "https://h/a%20b%2F%25+c|d.json"),
        ("https://h/\U0001f600", "https://h/%F0%9F%98%80"),
        ("https://b\u00fccher.example/a", "https://xn--bcher-kva.example/a"),
    ],
)
def test_an_address_is_asked_for_as_given_with_the_unsendable_encoded_once(url: str, asked: str) -> None:
    assert request_url(url) == asked
    assert request_url(asked) == asked


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    for raw in (body, GOOD.encode() + b"\n" + body, body + b"\n" + GOOD.encode()):
        try:
            data = read_manifest(raw, base_url=BASE, allowed_hosts=())
        except ManifestUnreadable:
            continue
        for entry in data.entries_of("A23"):
            assert request_url(entry.url).isascii()


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_line_raises_anything_else(supplier: str, rest: str) -> None:
    line = f"https://promi-dl.de/{supplier}/{rest}.json|{rest}"
    data = read_manifest(f"{GOOD}\n{line}".encode("utf-8", "surrogatepass"), base_url=BASE, allowed_hosts=())
    assert data.total + data.invalid_total >= 1


@given(st.text(st.characters(exclude_characters="|"), max_size=20), st.text("0123456789abcdef", min_size=1))
def test_a_hash_is_what_stands_behind_the_last_bar(name: str, token: str) -> None:
    assert split_line(f"https://h/A|1/{name}.json|{token}") == (f"https://h/A|1/{name}.json", token)
