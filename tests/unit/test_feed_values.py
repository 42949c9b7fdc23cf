from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from time import process_time

import pytest

from app.feed.details import hex_of
from app.feed.measures import centimetres_of, grams_of, kilograms_of, millimetres_of, percent_of, pieces_of
from app.feed.pictures import address_of
from app.feed.prices import currency_of
from app.feed.values import Unfit, amount_of, ean_of, flag_of, key_of, list_of, not_negative_of, text_of, whole_of
from app.feed.variants import country_of

NAN = Decimal("NaN")


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (8, "8"),
        (Decimal("8.98"), "8.98"),
        ("12,50", "12.5"),
        ("12.50", "12.5"),
        ("1.234,50", "1234.5"),
        ("1,234.50", "1234.5"),
        ("1.234.567", "1234567"),
        ("1 234,50", "1234.5"),
        ("1\u00a0234,50", "1234.5"),
        ("0,125", "0.125"),
        ("1234.567", "1234.567"),
        ("€ 12,50", "12.5"),
        ("-3", "-3"),
        (["7,5"], "7.5"),
        ({"0": 7}, "7"),
        (Decimal("8.980000000000001"), "8.98"),
        (Decimal("1E+2"), "100"),
        ("0", "0"),
        (Decimal("0E-30"), "0"),
        (Decimal("0.0001"), "0.0001"),
        ("1\u2019234.50", "1234.5"),
        ("1'234'567,5", "1234567.5"),
        ("1\u02bc234", "1234"),
        ("1\u2009234,50", "1234.5"),
        ("8,-", "8"),
        ("8.-", "8"),
        ("8,--", "8"),
        ("8.\u2013", "8"),
        ("8,=", "8"),
        ("€ 1.234,-", "1234"),
        ("1\u2019234.\u2014", "1234"),
        ("8.98 euro", "8.98"),
        ("8,98 Euros", "8.98"),
        ("EURO 8,98", "8.98"),
        ("8,- euro", "8"),
        ("\ufeff8.98\u200b", "8.98"),
    ],
)
def test_an_amount_is_read_as_it_is_meant(value: object, meant: str) -> None:
    assert str(amount_of(value)) == meant


@pytest.mark.parametrize(
    "value",
    [
        "1.234",
        "1,234",
        "12.345",
        "8-",
        "8.98 100",
        "1 2345",
        "1234 567",
        "1.234 567,89",
        ",-",
        "-",
        "1.2.-",
        "8.98 dollar",
        "1\u201923",
        "free",
        "1.23.4",
        "1,2,3",
        "8.71E+12",
        True,
        False,
        {"Price": 1},
        [1, 2],
        NAN,
        "٣",
    ],
)
def test_an_amount_that_cannot_be_known_is_unfit(value: object) -> None:
    with pytest.raises(Unfit):
        amount_of(value)


@pytest.mark.parametrize(
    "value", [10**10, Decimal("1E+999999"), "9" * 40, 10**400, Decimal("Infinity"), "9999999999.99995"]
)
def test_an_amount_that_postgresql_could_not_hold_is_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="out of range"):
        amount_of(value)


@pytest.mark.parametrize(
    "value", [Decimal("0.00001"), Decimal("0.00009"), Decimal("1E-40"), "0,00001", Decimal("-0.00001")]
)
def test_an_amount_that_four_places_would_make_nothing_is_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="is nothing in four decimal places"):
        amount_of(value)


def test_an_ambiguous_amount_is_told_with_both_meanings() -> None:
    with pytest.raises(Unfit, match=r"1\.234 may mean 1\.234 or 1234"):
        amount_of("1.234")


def test_a_text_too_long_for_a_number_is_none_and_shown_short() -> None:
    assert amount_of(" " * 1000 + "8" + "\ufeff" * 1000) == 8
    for text in ("0" * 100 + "8", "8" + " " * 100 + "euro"):
        with pytest.raises(Unfit, match="is not a number") as caught:
            amount_of(text)
        assert len(str(caught.value)) < 80


READERS = (
    amount_of,
    whole_of,
    ean_of,
    key_of,
    flag_of,
    text_of,
    grams_of,
    percent_of,
    pieces_of,
    country_of,
    currency_of,
)
REPEATED = (
    "1",
    " ",
    "\u00a0",
    "\n",
    "1 ",
    ".",
    "1,",
    " 234",
    ".234",
    "-",
    "e",
    "1e",
    "€",
    "EURO ",
    "g",
    "1g",
    "#",
    "\u0300",
)


@pytest.mark.parametrize("reader", [*READERS, address_of, lambda value: hex_of([value])])
def test_no_text_takes_long_to_read(reader: Callable[[object], object]) -> None:
    """A pattern that begins anew at each blank of a row takes minutes for one of these."""
    for repeated in REPEATED:
        for start, end in (("", "!"), ("1", "1"), ("€", "g")):
            began = process_time()
            with suppress(Unfit):
                reader(start + repeated * (50_000 // len(repeated)) + end)
            assert process_time() - began < 1, (start, repeated, end)


def test_an_endless_host_is_no_address_at_once() -> None:
    began = process_time()
    for number in range(100):
        with pytest.raises(Unfit, match="is not an http"):
            address_of("https://a" + "\u0300\u0316" * 950 + f"{number}/p.png")
    assert process_time() - began < 0.5
    assert address_of("https://b\u00fccher.example/" + "\u00fc" * 400 + ".png")


def test_a_price_below_zero_is_unfit() -> None:
    with pytest.raises(Unfit, match="-3 is below zero"):
        not_negative_of(-3)


@pytest.mark.parametrize("value", [None, "", " ", [], {}])
def test_nothing_is_absent_and_no_error(value: object) -> None:
    assert amount_of(value) is None
    assert text_of(value) is None
    assert key_of(value) is None
    assert whole_of(value) is None
    assert list_of(value) == ([value] if value == " " else [])


@pytest.mark.parametrize(
    ("value", "meant"), [(100, 100), ("100", 100), (Decimal("100.0"), 100), ("1.234", 1234), ("1.500", 1500)]
)
def test_a_count_is_read_as_it_is_meant(value: object, meant: int) -> None:
    assert whole_of(value) == meant


@pytest.mark.parametrize("value", [-1, 2**31, "1.000", Decimal("1.5"), True, "many"])
def test_a_count_that_cannot_be_known_is_unfit(value: object) -> None:
    with pytest.raises(Unfit):
        whole_of(value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("  Tas ", "Tas"),
        (["Tas"], "Tas"),
        (["Tas", None, "rood"], "Tas rood"),
        ({"1": "b", "0": "a"}, "a b"),
        (12, "12"),
        (Decimal("12.50"), "12.50"),
    ],
)
def test_a_text_is_read_as_it_is_meant(value: object, meant: str) -> None:
    assert text_of(value) == meant


@pytest.mark.parametrize("value", ["a\0b", "a\ud800", True, {"Name": "x"}, NAN, 2**70])
def test_a_text_that_cannot_be_stored_or_known_is_unfit(value: object) -> None:
    with pytest.raises(Unfit):
        text_of(value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [("A360-1 ", "A360-1"), ("\u00a0a360-1\ufeff", "a360-1"), ("A/1 ä|%2F", "A/1 ä|%2F"), (544248, "544248"),
     (" \ufeff \u2060A \ufeff ", "A"), (["A-1"], "A-1")],
)  # fmt: skip
def test_a_sku_is_trimmed_and_otherwise_kept(value: object, meant: str) -> None:
    assert key_of(value) == meant


NOTHING: list[object] = [None, "", " ", "\u200b", [], {}]


@pytest.mark.parametrize("nothing", NOTHING)
@pytest.mark.parametrize(
    ("reader", "value", "meant"),
    [
        (key_of, "A-1", "A-1"),
        (ean_of, "0871234567890", "0871234567890"),
        (address_of, "https://h/1.jpg", "https://h/1.jpg"),
        (amount_of, Decimal("8.98"), Decimal("8.98")),
        (whole_of, 1, 1),
        (flag_of, False, False),
        (grams_of, "100 g", Decimal(100)),
        (percent_of, 21, Decimal(21)),
        (lambda value: hex_of([value]), "AABBCC", "aabbcc"),
    ],
)
def test_what_says_nothing_beside_a_value_does_not_cost_it(
    reader: Callable[[object], object], value: object, meant: object, nothing: object
) -> None:
    for beside in ([value, nothing], [nothing, value], [nothing, value, nothing], {"0": nothing, "1": value}):
        assert reader(beside) == meant
    assert reader([nothing, nothing]) is None


@pytest.mark.parametrize("reader", [key_of, ean_of, address_of])
def test_several_texts_are_no_key_and_no_address(reader: Callable[[object], object]) -> None:
    for several in (["https://h/1.jpg", "https://h/2.jpg"], {"0": "871", "1": "872"}, [["A", "B"]]):
        with pytest.raises(Unfit, match="where one text was expected"):
            reader(several)


def test_a_sku_that_no_index_could_hold_is_unfit() -> None:
    with pytest.raises(Unfit, match="300 characters"):
        key_of("x" * 300)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("0871234567890", "0871234567890"),
        (8712345678901, "8712345678901"),
        (Decimal("8712345678901.0"), "8712345678901"),
        ("8712345678901.0", "8712345678901"),
        ("0871234567890,00", "0871234567890"),
        ("8712345678901.", "8712345678901"),
        *(
            (around.format("0871234567890"), "0871234567890")
            for around in ("\u200e{}", "'{}", "\u2019{}\u200b", " ' {}\ufeff", "\u202a{}\u202c", "'{}.0'")
        ),
        *(
            (absent, None)
            for absent in ("'", "n/a", "N.A.", "-", "--", "geen", "keine", "?", "0", "0000000000000", 0, "\ufeff")
        ),
    ],
)
def test_an_ean_is_text_with_its_leading_zeros(value: object, meant: str | None) -> None:
    assert ean_of(value) == meant


@pytest.mark.parametrize("value", ["8.71E+12", "8,71E+12", "8.71 E+12", "8.E12", Decimal("8.71E+12")])
def test_an_ean_that_lost_its_digits_is_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="exponent"):
        ean_of(value)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("True", True),
        ("false", False),
        (1, True),
        ("0", False),
        (["ja"], True),
        (Decimal("1.0"), True),
        (Decimal("0E+9"), False),
        ("Y", True),
        ("n", False),
        ("waar", True),
        ("Falsch", False),
        ("oui", True),
        ("off", False),
    ],
)
def test_a_flag_is_read_as_it_is_meant(value: object, meant: bool) -> None:
    assert flag_of(value) is meant


@pytest.mark.parametrize("value", ["maybe", 2, Decimal("1E+999999"), NAN, [True, False]])
def test_a_flag_that_says_neither_is_unfit(value: object) -> None:
    with pytest.raises(Unfit):
        flag_of(value)


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ({"10": "c", "2": "b"}, ["b", "c"]),
        ({"1": "c", "00": "b", "0": "a"}, ["a", "b", "c"]),
        ({"b": {"Url": 2}, "a": {"Url": 1}}, [{"Url": 1}, {"Url": 2}]),
        ({"Url": "x"}, [{"Url": "x"}]),
        ({"Url": {"nl": "x"}}, [{"Url": {"nl": "x"}}]),
        ("x", ["x"]),
    ],
)
def test_a_list_may_come_as_an_object_or_as_its_only_item(value: object, items: list[object]) -> None:
    assert list_of(value, frozenset({"Url"})) == items


@pytest.mark.parametrize(
    ("reader", "value", "meant"),
    [
        (grams_of, "140 g", "140"),
        (grams_of, "140", "140"),
        (grams_of, "0,5 kg", "500"),
        (grams_of, "1.5KG.", "1500"),
        (grams_of, ["140 Gramm"], "140"),
        (grams_of, "0 g", None),
        (kilograms_of, "500g", "0.5"),
        (millimetres_of, "10,5 cm", "105"),
        (millimetres_of, "1\u00a0m", "1000"),
        (centimetres_of, "12 mm", "1.2"),
        (percent_of, "21 %", "21"),
        (percent_of, "5,5%", "5.5"),
        (percent_of, "", None),
        (pieces_of, 250, "250"),
        (pieces_of, "250 st", "250"),
        (pieces_of, "100stuks", "100"),
        (pieces_of, ["100 Stück", None], "100"),
        (pieces_of, "1.250 Stk.", "1250"),
        (pieces_of, "100,00 PCS", "100"),
    ],
)
def test_a_unit_behind_a_measure_is_read(
    reader: Callable[[object], Decimal | int | None], value: object, meant: str | None
) -> None:
    found = reader(value)
    assert (None if found is None else str(found)) == meant


@pytest.mark.parametrize("value", ["140 lb", "1.234 kg", "g", "3 x 4 mm", "-3 g", "9999999999 m", True, ["1 g", "2 g"]])
def test_a_measure_that_cannot_be_known_is_unfit(value: object) -> None:
    for reader in (grams_of, millimetres_of):
        with pytest.raises(Unfit):
            reader(value)


@pytest.mark.parametrize("value", ["250 kg", "1.000 st", "ab 100 st", "100 - 249 st", "1,5 st", "st", "2 x 50 st"])
def test_a_number_of_pieces_that_cannot_be_known_is_unfit(value: str) -> None:
    with pytest.raises(Unfit):
        pieces_of(value)
