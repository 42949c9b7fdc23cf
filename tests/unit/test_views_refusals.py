"""What a body that was typed is refused with: words for people, none of pydantic's."""

from __future__ import annotations

import pytest

from app.cli.bodies import body_of
from app.errors import FieldInvalid
from app.views.bodies import NewSupplier, NewWebhook


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (NewSupplier, {"code": "A/1"}, "code: should have no slash and no blank in it"),
        (NewSupplier, {"code": ""}, "code: should not be empty"),
        (NewSupplier, {"code": ".."}, "code: should be neither . nor ..: in an address they lead elsewhere"),
        (NewSupplier, {"code": "A1", "removalGuardShare": 1.5}, "removalGuardShare: should be at most 1"),
        (NewWebhook, {"url": "https://shop.example", "events": []}, "events: should not be empty"),
        (NewWebhook, {"events": ["run.finished"]}, "url: is needed"),
    ],
)
def test_a_body_is_refused_in_plain_words(
    model: type[NewSupplier | NewWebhook], given: dict[str, object], said: str
) -> None:
    with pytest.raises(FieldInvalid) as raised:
        body_of(model, **given)
    assert str(raised.value) == said
