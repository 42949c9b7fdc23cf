"""What Redis's errors mean to us, in one line that says what to do."""

from __future__ import annotations

import re
import ssl

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from app.redis_keys import RedisKeys

OF_A_CLUSTER = ("MOVED", "ASK", "CROSSSLOT")
NO_CLUSTER = "cluster mode is not supported: let REDIS_URL name a single server, or a proxy in front of the cluster"
NEEDS_MEMORY = "give it more memory, and take care that its maxmemory-policy is noeviction"
REMEDIES = {
    "NOAUTH": "correct user and password in REDIS_URL",
    "READONLY": "it is a replica: let REDIS_URL name the primary",
    "OOM": NEEDS_MEMORY,
    "LOADING": "wait, it is loading its data",
    "MISCONF": (
        "its disk is full or may not be written, which its log says: make room, or turn saving off "
        "(CONFIG SET save '', CONFIG SET appendonly no); nothing in it needs to be kept"
    ),
    "NOREPLICAS": "bring its replicas back, or lower its min-replicas-to-write",
    "MASTERDOWN": "it is a replica that has lost its primary: let REDIS_URL name the primary",
    "BUSY": "a script of somebody else keeps it busy: wait, or end that one (SCRIPT KILL)",
    "CLUSTERDOWN": "it belongs to a cluster that is not whole: mend that one (CLUSTER INFO)",
    **dict.fromkeys(OF_A_CLUSTER, NO_CLUSTER),
    "max number of clients reached": "raise its maxclients, or close connections that nobody needs (CLIENT LIST)",
}
"""What to do, by the code that the server's answer begins with, or by its words where it has none of its own."""
STRIPPED: tuple[tuple[type[RedisError], str], ...] = (
    (AuthenticationError, "NOAUTH"),
    (ReadOnlyError, "READONLY"),
    (OutOfMemoryError, "OOM"),
    (BusyLoadingError, "LOADING"),
)
"""redis-py takes the code off the message of these."""
CODE = re.compile(rf"(?<!\w)({'|'.join(REMEDIES)})(?!\w)")
"""Redis 6.2 has it amid what it says of a script that ran into it."""
REFUSES_WRITES = frozenset({"OOM", "READONLY", "MISCONF", "NOREPLICAS"})
TRUST = (
    "name the certificate of who signed it in ssl_ca_certs of REDIS_URL (rediss://...?ssl_ca_certs=/path); "
    "where the host has none to give, ssl_cert_reqs=none takes any, also that of somebody in between"
)
OTHER_DOOR = ("Connection closed by server", "Timeout connecting")
"""What a port with TLS says to redis://, and one without to rediss://."""
WHICH_DOOR = "rediss:// is for a port with TLS, redis:// for one without"


def remedy(error: BaseException | None) -> str | None:
    """What an operator does about an error of Redis that has one cause, or None."""
    return REMEDIES.get(_code(error))


def _code(error: BaseException | None) -> str:
    """Which of REMEDIES it is, or nothing."""
    found = CODE.search(str(error)) if isinstance(error, RedisError) else None
    return next((code for kind, code in STRIPPED if isinstance(error, kind)), found[1] if found else "")


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
    code = _code(error)
    if code in REFUSES_WRITES:
        replica = ": it is a replica, let REDIS_URL name the primary" if code == "READONLY" else ""
        return f"it refuses writes ({text}){replica}"
    if code:
        return f"{text}; {REMEDIES[code]}"
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
    unfit = isinstance(error, ReadOnlyError) or _code(error) in OF_A_CLUSTER
    return refused or unfit or _wrong_tls(error) is not None
