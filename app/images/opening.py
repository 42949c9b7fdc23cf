"""Which store the settings name: a bucket on S3/R2, or a folder of ours."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import SettingsError, StoreUnavailable
from app.images.opened_later import OpenedLater
from app.images.store import ObjectStore
from app.images.store_local import LocalStore
from app.settings import Settings

_WRONG_FOLDER = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}


async def refuse_wrong_folder(settings: Settings, store: ObjectStore) -> None:
    """See that the folder of a local store can be written to at all, before work for it is begun.

    A disk that is full or answers nothing passes, and is waited for.

    Raises:
        SettingsError: DATA_DIR is no folder, is in none, or is not ours.
    """
    if settings.s3_bucket is not None:
        return
    try:
        await store.check()
    except StoreUnavailable as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _WRONG_FOLDER:
            raise SettingsError(
                f"DATA_DIR: {settings.data_dir} cannot be written ({error.__cause__.strerror}): "
                "set it to a folder that is yours, or S3_BUCKET and what goes with it"
            ) from error


@asynccontextmanager
async def open_store(settings: Settings, *, at_once: bool = True) -> AsyncIterator[ObjectStore]:
    """The store that the settings name: S3/R2 when there is a bucket, else `DATA_DIR/media`. One for each process.

    A bucket that is not opened `at_once` is opened when it is first used.
    """
    if settings.s3_bucket is None:
        yield LocalStore(settings.data_dir / "media")
    elif at_once:
        async with _open_bucket(settings) as store:
            yield store
    else:
        later = OpenedLater(lambda: _open_bucket(settings))
        try:
            yield later
        finally:
            await later.close()


@asynccontextmanager
async def _open_bucket(settings: Settings) -> AsyncIterator[ObjectStore]:
    from app.images.store_s3 import open_s3_store  # noqa: PLC0415 (boto is slow to import)

    async with open_s3_store(settings) as store:
        yield store
