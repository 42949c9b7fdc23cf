"""The store's failures in the words of the service: what happened, and what to set or to allow.

All of them are outages, which spend no attempt: a missing bucket or right is mended by the operator, not by giving up
pictures one by one. What the store answers of one object is told apart, since it may be that object's own fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import ClientError

from app.errors import PromidataSyncError, StoreDeclines, StoreUnavailable

TOO_LARGE = "it is larger than the store, or a proxy before it, takes: raise that limit (nginx: client_max_body_size)"
OF_THE_OBJECT = {
    "413": TOO_LARGE,
    "EntityTooLarge": TOO_LARGE,
    "MaxMessageLengthExceeded": TOO_LARGE,
    "InvalidObjectState": "the object is archived: restore it, and let no rule of the bucket archive pictures",
}
PERHAPS_OF_THE_OBJECT = {
    "BadDigest": "the bytes were changed on the way",
    "InvalidDigest": "the bytes were changed on the way",
    "NoSuchKey": "the object is missing",
}
ADVICE = {
    "NoSuchBucket": "there is no such bucket: set S3_BUCKET",
    "AccessDenied": "access is denied: the key pair needs to list the bucket, and to get, put and delete objects",
    "InvalidAccessKeyId": "the key is unknown: set S3_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the signature is wrong: set S3_SECRET_ACCESS_KEY and S3_REGION",
    "PermanentRedirect": "the bucket is in another region: set S3_REGION",
    "RequestTimeTooSkewed": "this machine's clock is wrong",
    "RequestTimeout": "the bytes came too slowly",
}
"""Of no object: rights, the bucket, time."""
PASSES = frozenset({408, 425, 429})
"""Of the 4xx, those that are over by themselves."""


@contextmanager
def explained(what: str, bucket: str) -> Iterator[None]:
    """Turn whatever the client raises into StoreUnavailable, with advice where there is some."""
    try:
        yield
    except PromidataSyncError:
        raise
    except ClientError as error:
        details = error.response.get("Error", {})
        code = str(details.get("Code") or status_of(error))
        known = ADVICE | OF_THE_OBJECT | PERHAPS_OF_THE_OBJECT
        advice = known.get(code, f"the object store answered {code}")
        message = f"cannot {what} bucket {bucket}: {advice}"
        if code in OF_THE_OBJECT or _may_be_the_objects(code, status_of(error)):
            raise StoreDeclines(message, for_itself=code in OF_THE_OBJECT) from error
        raise StoreUnavailable(message) from error
    except Exception as error:  # aiohttp's and the parsers' errors come through, of no common kind
        raise StoreUnavailable(
            f"cannot {what} bucket {bucket}: {type(error).__name__}; is S3_ENDPOINT_URL right?"
        ) from error


def status_of(error: ClientError) -> int:
    """The HTTP status that the store answered, or 0 when it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _may_be_the_objects(code: str, status: int) -> bool:
    """Whether the store may take another object meanwhile."""
    return 400 <= status < 500 and status not in PASSES and code not in ADVICE
