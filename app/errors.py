"""Every error of the service, in one tree.

Errors carry meaning; the doors translate them: the API's door to a status, the workers' door to retry, fail or hand
back. What a stage raises decides what happens to its job (ENGINE.md 1, "Attempts"):

PromidataSyncError
├── SettingsError               a setting makes no sense; ends the start
├── SchemaTooNew                this program is older than the database's schema; ends the start
├── TransientError              spends an attempt, tried again with backoff
│   └── OriginUnavailable       5xx, 429, reset, time-out, bytes that ended early
├── PermanentError              fails at once
│   ├── OriginRefused           4xx but 429: gone, forbidden
│   ├── AddressRefused          an address that must not be fetched
│   ├── BodyTooLarge            over the byte cap, once decompressed
│   ├── ManifestUnreadable      empty, or not text
│   ├── CategoriesRefused       no category file, or one that lost too much
│   ├── DocumentUnreadable      whole, and not a document
│   ├── PictureRefused          whole, and not a picture that we store
│   ├── AskedInVain             another job, which asked for this one too, failed
│   └── PayloadInvalid          a job's arguments do not fit its model
├── OutageError                 a part of ours is away; spends no attempt
│   ├── DatabaseUnavailable
│   │   ├── DatabaseMisfit       somebody must set or grant something; ends a worker's start
│   │   ├── DatabaseReadOnly     a standby, or set to read only
│   │   ├── ConnectionsRefused   PostgreSQL is at the limit of its connections
│   │   └── SnapshotsTaken       as many whole exports are under way as this process allows
│   ├── QueueUnavailable
│   └── StoreUnavailable
│       └── StoreDeclines        it answers, and does not take this object; perhaps it takes others
├── ComesBack                   something else goes first; waits, spends no attempt
│   ├── GoesAfter               another job
│   └── NoPlace                 others' requests to the host, or the pause that it asked for
├── ClaimLost                   another worker holds the job, or nobody does any more; nothing was written
├── RunCancelled                the job's run was cancelled; nothing was written
└── RequestError                the caller asked for what cannot be done
    ├── NotFound
    ├── Conflict
    │   └── SeveralSuppliers    a SKU that more than one supplier has
    └── Invalid
        └── FieldInvalid        one field of it
"""

from __future__ import annotations

from typing import ClassVar


class PromidataSyncError(Exception):
    """The root. Its message is written for the person who has to act on it."""


class SettingsError(PromidataSyncError):
    """A setting makes no sense; the message names the variable and what would fit."""


class SchemaTooNew(PromidataSyncError):
    """The schema is of a newer version that does not work with this one; the message says which."""


class TransientError(PromidataSyncError):
    """Worth another try. `retry_after_s` is the wait that the other side asked for, in seconds, or None."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class OriginUnavailable(TransientError):
    """The origin did not deliver whole bytes: 5xx, 429, reset, time-out, or a body that ended early.

    `status` is what it answered, or None when there was no answer.
    """

    def __init__(self, message: str, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message, retry_after_s)
        self.args = (message, retry_after_s, status)
        self.status = status


class PermanentError(PromidataSyncError):
    """Trying again would not help until the other side changes something. `kind` is a stable word for lists."""

    def __init__(self, message: str, kind: str = "permanent") -> None:
        super().__init__(message, kind)
        self.message = message
        self.kind = kind

    def __str__(self) -> str:
        return self.message


class OriginRefused(PermanentError):
    """The origin answered 4xx (429 excepted), or a redirect that leads nowhere."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, f"http-{status}")
        self.args = (message, status)
        self.status = status


class AddressRefused(PermanentError):
    """The address must not be fetched: scheme, host, or a private network behind it.

    `private` are the addresses that are no public ones, where that is the reason; `why` says what is wrong without the
    address, whose path may be a secret.
    """

    def __init__(
        self, message: str, kind: str = "address-refused", private: tuple[str, ...] = (), why: str | None = None
    ) -> None:
        super().__init__(message, kind)
        self.args = (message, kind, private, why)
        self.private = private
        self.why = message if why is None else why


class BodyTooLarge(PermanentError):
    """The body is over its byte cap, counted after decompression."""

    def __init__(self, message: str, kind: str = "too-large") -> None:
        super().__init__(message, kind)


class ManifestUnreadable(PermanentError):
    """The manifest is empty, or not text, or has no line that is an entry; fails the run."""

    def __init__(self, message: str, kind: str = "manifest-unreadable") -> None:
        super().__init__(message, kind)


class CategoriesRefused(PermanentError):
    """What came as the category file is none, or lost too many categories to be believed; a warning of the run."""

    def __init__(self, message: str, kind: str = "categories") -> None:
        super().__init__(message, kind)


class DocumentUnreadable(PermanentError):
    """The document is whole and cannot be read: broken JSON, the wrong shape, not UTF-8."""

    def __init__(self, message: str, kind: str = "document-unreadable") -> None:
        super().__init__(message, kind)


class PictureRefused(PermanentError):
    """The bytes are whole and not a picture that we store: HTML, SVG, a bomb, too many pixels."""

    def __init__(self, message: str, kind: str = "picture-refused") -> None:
        super().__init__(message, kind)


class AskedInVain(PermanentError):
    """Another job asked for this one, too, and failed: its error, and its kind. Nothing was asked once more."""


class PayloadInvalid(PermanentError):
    """A job's arguments do not fit its model."""

    def __init__(self, message: str, kind: str = "payload-invalid") -> None:
        super().__init__(message, kind)


class OutageError(PromidataSyncError):
    """A part of ours is away or refuses to write. The job waits and no attempt is spent."""

    part: ClassVar[str] = "a part of ours"
    """Its name in logs."""


class DatabaseUnavailable(OutageError):
    """PostgreSQL is away, read-only, or closed the connection."""

    part = "PostgreSQL"


class DatabaseMisfit(DatabaseUnavailable):
    """PostgreSQL is there; user, database, rights, TLS or schema are not as we need them. The message says what to do.

    Who works already waits for it as for an outage: somebody may be changing it.
    """


class DatabaseReadOnly(DatabaseUnavailable):
    """PostgreSQL is there and takes no writes (SQLSTATE 25006). The message says what it may be, and what to do."""


class ConnectionsRefused(DatabaseUnavailable):
    """PostgreSQL takes no more connections (SQLSTATE 53300); the message says whose limit it is."""


class SnapshotsTaken(DatabaseUnavailable):
    """As many snapshots are held for long as this process allows, so that all others find a connection."""


class QueueUnavailable(OutageError):
    """Redis is away, read-only, full or loading, or another installation uses our keys."""

    part = "Redis"


class StoreUnavailable(OutageError):
    """The object store is away or refuses to write."""

    part = "the object store"


class StoreDeclines(StoreUnavailable):
    """The object store is there and does not take an object, or changes it.

    `for_itself`: it says that it is because of this one.
    """

    part = "the object store, for one picture"

    def __init__(self, message: str, *, for_itself: bool) -> None:
        super().__init__(message)
        self.for_itself = for_itself


class ComesBack(PromidataSyncError):
    """Something else goes first: the job waits for `wait_s` seconds without a slot, and no attempt is spent.

    `what` it waits for is shown as the job's error meanwhile.
    """

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(what, wait_s)
        self.what = what
        self.wait_s = wait_s

    def __str__(self) -> str:
        return self.what


class GoesAfter(ComesBack):
    """Another job goes first, whose id this names."""


class NoPlace(ComesBack):
    """No request to the host may begin soon: it asked for a pause, or others' requests take all that there may be."""


class ClaimLost(PromidataSyncError):
    """The fence did not hold: another worker claimed the job, or it is closed. Nothing was written."""


class RunCancelled(PromidataSyncError):
    """The run of this job is being cancelled. Nothing was written."""


class RequestError(PromidataSyncError):
    """The caller asked for what cannot be done; the message says what to do instead."""


class NotFound(RequestError):
    """There is no such thing."""


class Conflict(RequestError):
    """The thing is in a state that does not allow this."""


class SeveralSuppliers(Conflict):
    """More than one supplier has this SKU, and none was named. `suppliers` are their codes, sorted."""

    def __init__(self, sku: str, suppliers: list[str]) -> None:
        super().__init__(sku, suppliers)
        self.sku = sku
        self.suppliers = suppliers

    def __str__(self) -> str:
        return f"several suppliers have {self.sku}: {' and '.join(self.suppliers)}"


class Invalid(RequestError):
    """The request makes no sense as it is."""


class FieldInvalid(Invalid):
    """One field of the request makes no sense; says which, in the API's spelling, and why."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(field, why)
        self.field = field
        self.why = why

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"
