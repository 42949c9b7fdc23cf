"""What an `async with` of `Database` stands around: a connection, and on most of them a transaction.

    enter: lent ─▶ begun               exit: committed or rolled back ─▶ what waited for that is called ─▶ given back
             └───── what fails in any of this, or in the block itself, is told in our own words (retelling.py) ─────┘

One class: six context managers made of generators are a tenth of the calls that a small transaction runs through in
Python (docs/decisions/0047).
"""

from __future__ import annotations

from types import TracebackType

from sqlalchemy.engine import RootTransaction
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from app.persistence.after_commit import begin_to_collect, collected
from app.persistence.audit import noted_until_now
from app.persistence.last_statements import allow_commit, commit
from app.persistence.lending import Loan
from app.persistence.retelling import Retelling
from app.persistence.statements import info_of


class Block:
    """One block; it is entered once."""

    def __init__(self, loan: Loan, retelling: Retelling, *, in_transaction: bool = True) -> None:
        """Prepare it; `in_transaction` False leaves each statement to commit by itself."""
        self._loan, self._retelling = loan, retelling
        self._in_transaction = in_transaction
        self._transaction: RootTransaction | None = None

    async def __aenter__(self) -> AsyncConnection:
        try:
            return await self._begin()
        except Exception as error:
            self._retelling.retell(error)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._end(commits=error is None)
        except BaseException as failed:
            self._noted.undo()
            self._retell(failed)
            raise
        if error is not None:
            self._noted.undo()
            self._retell(error)

    def _retell(self, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._retelling.retell(error)

    async def _begin(self) -> AsyncConnection:
        self._noted = noted_until_now()
        db = self._db = await self._loan.__aenter__()
        try:
            info = self._info = info_of(db)
            allow_commit(info, last=False)
            if self._in_transaction:
                assert db.sync_connection is not None
                self._transaction = db.sync_connection.begin()  # at once: nothing is sent before the first statement
                begin_to_collect(info)
        except BaseException:
            await self._loan.__aexit__()
            raise
        return db

    async def _end(self, *, commits: bool) -> None:
        try:
            if self._transaction is not None:
                await self._end_transaction(self._transaction, commits=commits)
        finally:
            await self._loan.__aexit__()

    async def _end_transaction(self, transaction: RootTransaction, *, commits: bool) -> None:
        try:
            if commits and transaction.is_active:  # the block may have rolled it back
                await commit(self._db, transaction)
        finally:
            calls = collected(self._info)
            if transaction.is_active:
                await greenlet_spawn(transaction.close)
        if commits:
            for call in calls:
                call()
