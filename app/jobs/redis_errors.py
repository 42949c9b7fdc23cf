"""What Redis's errors mean to us, in one line that says what to do."""

from __future__ import annotations

import ssl

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from app.redis_keys import RedisKeys

NEEDS_MEMORY = "give it more memory, and take care that its maxmemory-policy is noeviction"
REMEDIES: tuple[tuple[type[RedisError], str], ...] = (
    (AuthenticationError, "correct user and password in REDIS_URL"),
    (ReadOnlyError, "it is a replica: let REDIS_URL name the primary"),
    (OutOfMemoryError, NEEDS_MEMORY),
    (BusyLoadingError, "wait, it is loading its data"),
)
REFUSING = (OutOfMemoryError, ReadOnlyError, MasterDownError)
"""redis-py takes the code off the message of these."""
TRUST = (
    "name the certificate of who signed it in ssl_ca_certs of REDIS_URL (rediss://...?ssl_ca_certs=/path); "
    "where the host has none to give, ssl_cert_reqs=none takes any, also that of somebody in between"
)
OTHER_DOOR = ("Connection closed by server", "Timeout connecting")
"""What a port with TLS says to redis://, and one without to rediss://."""
WHICH_DOOR = "rediss:// is for a port with TLS, redis:// for one without"


def remedy(error: BaseException | None) -> str | None:
    """What an operator does about an error of Redis that has one cause, or None."""
    return next((do for kind, do in REMEDIES if isinstance(error, kind)), None)


def advice(error: BaseException, keys: RedisKeys) -> str:
    """What went wrong and what to do about it."""
    text = str(error) or type(error).__name__
    if isinstance(error, BusyLoadingError):
        return "it is loading its data; this passes by itself"
    return _refusal(error, text, keys) or _fault(error, text)


def _refusal(error: BaseException, text: str, keys: RedisKeys) -> str | None:
    """What to grant whoever REDIS_URL names."""
    if is_refused_user(error):
        return f"{text}; put the user and password into REDIS_URL (redis://user:password@host:6379/0)"
    if is_refused_key(error):
        return f"{text}; grant its user {' '.join(keys.patterns)} (ACL SETUSER), or set REDIS_PREFIX to what it may use"
    if is_missing(error):
        return f"{text}; the server must have this command, and the user of REDIS_URL be allowed it"
    return None


def _fault(error: BaseException, text: str) -> str:
    wrong = _wrong_tls(error)
    if isinstance(wrong, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({wrong.verify_message}): {TRUST}"
    if wrong is not None:
        return f"TLS did not come about ({wrong.reason}): look at REDIS_URL; {WHICH_DOOR}"
    if isinstance(error, REFUSING) or text.startswith(("OOM", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS")):
        replica = ": it is a replica, let REDIS_URL name the primary" if isinstance(error, ReadOnlyError) else ""
        return f"it refuses writes ({text}){replica}"
    door = f" {WHICH_DOOR}" if text.startswith(OTHER_DOOR) else ""
    return f"{text}; is it running, and is REDIS_URL right?{door}"


def _wrong_tls(error: BaseException) -> ssl.SSLError | None:
    """What TLS failed at for what the server has or REDIS_URL asks for, not for a server that went.

    redis-py raises its own error while it handles that one.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    return None if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) else cause


def is_refused_user(error: BaseException) -> bool:
    """Whether user or password are wrong, or missing."""
    return isinstance(error, AuthenticationError) or any(code in str(error) for code in ("NOAUTH", "WRONGPASS"))


def is_refused_key(error: BaseException) -> bool:
    """Whether the user may not touch a key, also where a script ran into it."""
    text = str(error).lower()
    return isinstance(error, ResponseError) and "permission" in text and "access" in text and "key" in text


def is_missing(error: BaseException) -> bool:
    """Whether a command may not be run or is not there, also where a script ran into it."""
    if not isinstance(error, ResponseError):
        return False
    text = str(error).lower()
    return isinstance(error, NoPermissionError) or "no permissions" in text or "unknown" in text


def is_misfit(error: BaseException) -> bool:
    """Whether somebody must set something: waiting does not help."""
    refused = is_refused_user(error) or is_missing(error) or is_refused_key(error)
    return refused or isinstance(error, ReadOnlyError) or _wrong_tls(error) is not None
