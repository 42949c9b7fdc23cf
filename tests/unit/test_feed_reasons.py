import pytest

from app.sync.stage.context import plain_reason

URL = "http://[::1]/Images/a.png?key=1"
MASKED = "http://[::1]/Images/a.png"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("::1 is not a public address (loopback)", "::1 is not a public address (loopback)"),
        (f"{MASKED}: ::1 is not a public address", "::1 is not a public address"),
        (f"{URL}: status 404", "status 404"),
        (f"{MASKED} has no plain host name", "has no plain host name"),
        (f"no answer: {MASKED}", "no answer"),
        (f"no answer from {URL} in time", "no answer from  in time"),
        (URL, URL),
    ],
)
def test_a_reason_is_told_without_its_address_and_otherwise_whole(message: str, reason: str) -> None:
    assert plain_reason(message, URL) == reason
