from decimal import Decimal

import pytest

from app.feed.values import Unfit, amount_of, ean_of, flag_of, key_of, list_of, not_negative_of, text_of, whole_of

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


@pytest.mark.parametrize("value", [10**10, Decimal("1E+999999"), "9" * 40, 10**400, Decimal("Infinity")])
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
    [("A360-1 ", "A360-1"), ("\u00a0a360-1\ufeff", "a360-1"), ("A/1 ä|%2F", "A/1 ä|%2F"), (544248, "544248")],
)
def test_a_sku_is_trimmed_and_otherwise_kept(value: object, meant: str) -> None:
    assert key_of(value) == meant


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
        *(
            (absent, None)
            for absent in ("n/a", "N.A.", "-", "--", "geen", "keine", "?", "0", "0000000000000", 0, "\ufeff")
        ),
    ],
)
def test_an_ean_is_text_with_its_leading_zeros(value: object, meant: str | None) -> None:
    assert ean_of(value) == meant


@pytest.mark.parametrize("value", ["8.71E+12", "8,71E+12", Decimal("8.71E+12")])
def test_an_ean_that_lost_its_digits_is_unfit(value: object) -> None:
    with pytest.raises(Unfit, match="exponent"):
        ean_of(value)


@pytest.mark.parametrize(
    ("value", "meant"), [("True", True), ("false", False), (1, True), ("0", False), (["ja"], True)]
)
def test_a_flag_is_read_as_it_is_meant(value: object, meant: bool) -> None:
    assert flag_of(value) is meant


def test_a_flag_that_says_neither_is_unfit() -> None:
    with pytest.raises(Unfit):
        flag_of("maybe")


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ({"10": "c", "2": "b"}, ["b", "c"]),
        ({"b": {"Url": 2}, "a": {"Url": 1}}, [{"Url": 1}, {"Url": 2}]),
        ({"Url": "x"}, [{"Url": "x"}]),
        ({"Url": {"nl": "x"}}, [{"Url": {"nl": "x"}}]),
        ("x", ["x"]),
    ],
)
def test_a_list_may_come_as_an_object_or_as_its_only_item(value: object, items: list[object]) -> None:
    assert list_of(value, frozenset({"Url"})) == items
