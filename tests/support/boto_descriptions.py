"""What boto knows of its services, read once a process.

Each store's session would read it anew, a megabyte of JSON: five times what all else takes that opens a store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from botocore.loaders import create_loader
from botocore.session import Session


@contextmanager
def read_once() -> Iterator[None]:
    """Have all sessions of this process share the descriptions until the block ends."""
    loader = create_loader()

    def share(session: Session) -> None:
        session.register_component("data_loader", loader)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "_register_data_loader", share)
        yield
