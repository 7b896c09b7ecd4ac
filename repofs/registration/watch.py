"""Looking after the tables that are registered: whether each array is still what it was, and reading what is.

    table ─▶ array opened, by the path it had ─▶ the directory that is known? ─▶ read
                                                 another: looked into first, by its token and its manifest

A table whose array is not what was registered has another state, and is read only as far as the settings allow.
"""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from repofs.config import Tables as TableSettings
from repofs.errors import InvalidValue, RepofsError, Unreachable
from repofs.registration import tokens
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.processes import At
from repofs.registration.registry import Registry
from repofs.table import Examined, Form, Selection, Table, TableState

LOOK_SECONDS = 600.0  # from one look into all arrays to the next
FRESH_SECONDS = 10.0  # for which what was found of an array is believed

log = structlog.get_logger(__name__)


class Arrays(Protocol):
    """What the processes do that look into arrays."""

    async def examine(self, at: At) -> Examined: ...

    async def export(self, at: At, form: Form, selection: Selection, into: int) -> None: ...


class NotLookedAt(Unreachable):
    """Another directory lies where the array of a table was: it is to be looked into before it is read."""


class Watch:
    """Looks after the tables of one repository."""

    def __init__(
        self, settings: TableSettings, places: Places, arrays: Arrays, registry: Registry, ledger: Ledger
    ) -> None:
        self._settings = settings
        self._places = places
        self._arrays = arrays
        self._registry = registry
        self._ledger = ledger
        self._looked: dict[int, float] = {}  # tables, by when their array was looked into
        self._known: dict[int, tuple[int, int]] = {}  # and which directory was found to be it

    async def look(self, table: Table) -> Table:
        """Look into the array of *table*, unless that was done a moment ago, and return how it is now."""
        known = self._registry.get(table.id)
        if known is None or trio.current_time() < self._looked.get(table.id, -FRESH_SECONDS) + FRESH_SECONDS:
            return known or table
        state = await self._state(known)
        if self._registry.get(table.id) != known:  # it was unregistered, moved or rotated meanwhile
            return self._registry.get(table.id) or table
        self._looked[table.id] = trio.current_time()
        return known if known.state is state else await self._stands(replace(known, state=state))

    async def look_anew(self, table: Table) -> None:
        """Look into it now. Raises Unreachable when it is not to be read as it is."""
        self._looked.pop(table.id, None)
        self.require_served(await self.look(table))

    async def _stands(self, table: Table) -> Table:
        log.warning("the array of a table stands otherwise", table=str(table.ref), state=str(table.state))
        try:
            await self._ledger.stands(table)
        except RepofsError as error:  # it is told at the next look
            log.info("how a table stands could not be written", table=str(table.ref), reason=error.message)
        return table

    async def run(self) -> None:
        """Look into all arrays again and again, until cancelled."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            for table in self._registry.all():
                await self.look(table)

    async def _state(self, table: Table) -> TableState:
        try:
            with closing(await self._places.in_thread(self._places.open_table, table)) as at:
                return self._judged(table, at, await self._found(table, at))
        except InvalidValue as error:  # a file or a symbolic link lies there
            log.info("an array is not what was registered", table=str(table.ref), reason=error.message)
            return TableState.CHANGED
        except OSError as error:
            log.info("an array cannot be reached", table=str(table.ref), reason=str(error))
            return TableState.UNREACHABLE

    async def _found(self, table: Table, at: At) -> Examined | None:
        try:
            return await self._arrays.examine(at)
        except InvalidValue as error:  # it is there, and no array any more
            log.info("an array is not what was registered", table=str(table.ref), reason=error.message)
            return None

    def _judged(self, table: Table, at: At, found: Examined | None) -> TableState:
        digest = b"" if found is None or found.token is None else tokens.digest(table.salt, found.token)
        if found is not None and (digest, found.manifest) == (table.digest, table.manifest):
            self.know(table, at)  # be it another directory: it was put back, or its file system mounted again
            return TableState.REGISTERED
        if self._known.setdefault(table.id, _directory(at)) != _directory(at):
            log.warning("another array lies where that of a table was", table=str(table.ref))
            return TableState.UNREACHABLE
        return TableState.MISMATCH if found is not None and digest != table.digest else TableState.CHANGED

    def know(self, table: Table, at: At) -> None:
        """Let what is opened at *at* be the array of *table*: it has been looked into."""
        self._known[table.id] = _directory(at)

    def forget(self, table: Table) -> None:
        """Look after *table* no more: it has been unregistered."""
        self._looked.pop(table.id, None)
        self._known.pop(table.id, None)

    def open_table(self, table: Table) -> At:
        """Open the array of a registered table, for whoever may see that. Blocking.

        Raises NotLookedAt when it is another directory than was looked into; as `Places.open_table`.
        """
        at = self._places.open_table(table)
        if at.directory is not None and self._known.get(table.id) != _directory(at):
            at.close()
            raise NotLookedAt(f"another array than that of {table.ref} lies in its place")
        return at

    async def opened(self, table: Table) -> At:
        """Open it in a thread, looked into before if need be. Raises Unreachable; as `Places.open_table`."""
        try:
            return await self._places.in_thread(self.open_table, table)
        except NotLookedAt:
            await self.look_anew(table)
            return await self._places.in_thread(self.open_table, table)

    async def export(self, table: Table, form: Form, selection: Selection, into: int) -> None:
        """Write what is selected of *table* into the descriptor *into*. Raises Unreachable, InvalidValue."""
        self.require_served(await self.look(table))
        with closing(await self.opened(table)) as at:
            await self._arrays.export(at, form, selection, into)

    def require_served(self, table: Table) -> None:
        """Refuse (Unreachable) to read a table whose array has another token, or has changed and the settings do not
        allow that."""
        if table.state is TableState.MISMATCH or (
            table.state is TableState.CHANGED and not self._settings.serve_changed
        ):
            raise Unreachable(f"{table.ref} is not what was registered ({table.state}): have it registered again")


def _directory(at: At) -> tuple[int, int]:
    if at.directory is None:
        return 0, 0  # a store has none
    status = os.fstat(at.directory)
    return status.st_dev, status.st_ino
