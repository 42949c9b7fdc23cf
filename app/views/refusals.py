"""What a person reads of a field that makes no sense: pydantic's error, in plain words.

Whoever shows such an error takes its words from here: the API, the pages and the command line. Never what the field
held: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app.views.bodies import CODE_PATTERN
from app.wording import counted

Words = Callable[[Mapping[str, Any]], str]
"""Out of what the error says of its limits."""
_VALUE_ERROR = "Value error, "
"""What pydantic begins a validator's own words with."""
_PATTERNS = {CODE_PATTERN: "should have no slash and no blank in it"}
_NUMBER = "should be a number"
_WHOLE = "should be a whole number"
_SWITCH = "should be true or false"
_OBJECT = "should be a JSON object"
_WORDS: dict[str, str | Words] = {
    "missing": "is needed",
    "string_type": "should be a text",
    "string_unicode": "should be valid Unicode",
    "string_too_short": lambda of: _at_least(of["min_length"], "character"),
    "string_too_long": lambda of: f"should have at most {counted(of['max_length'], 'character')}",
    "too_short": lambda of: _at_least(of["min_length"], "item"),
    "too_long": lambda of: f"should have at most {counted(of['max_length'], 'item')}",
    "list_type": "should be a list",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "is too large",
    "int_from_float": _WHOLE,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "json_invalid": "should be JSON",
    "finite_number": _NUMBER,
    "greater_than": lambda of: f"should be above {of['gt']:g}",
    "greater_than_equal": lambda of: f"should be at least {of['ge']:g}",
    "less_than": lambda of: f"should be below {of['lt']:g}",
    "less_than_equal": lambda of: f"should be at most {of['le']:g}" if of["le"] < 10**6 else "is too large",
    "literal_error": lambda of: f"should be {of['expected']}",
}


def refusal_in_words(error: Mapping[str, Any]) -> str:
    """What one of pydantic's errors says; of a kind that is not known here, pydantic's own words.

    >>> refusal_in_words({"type": "string_too_short", "msg": "…", "ctx": {"min_length": 1}})
    'should not be empty'
    >>> refusal_in_words({"type": "value_error", "msg": "Value error, should not hold NUL characters"})
    'should not hold NUL characters'
    """
    kind, limits = error["type"], error.get("ctx", {})
    if kind == "string_pattern_mismatch" and limits["pattern"] in _PATTERNS:
        return _PATTERNS[limits["pattern"]]
    words = _WORDS.get(kind, str(error["msg"]).removeprefix(_VALUE_ERROR))
    return words if isinstance(words, str) else words(limits)


def _at_least(count: int, one: str) -> str:
    return "should not be empty" if count == 1 else f"should have at least {counted(count, one)}"
