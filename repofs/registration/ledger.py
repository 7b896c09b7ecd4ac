"""The registry and the catalogue, kept alike: what changes both is done one after the other, the catalogue first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

import trio

from repofs.errors import Busy
from repofs.registration.registry import Registry
from repofs.table import NewTable, Table

_PAUSE_SECONDS = 1.0  # before the catalogue is asked again


class Catalogue(Protocol):
    """What the importer process does for tables. Raises Busy when it is away, and may have done it or not."""

    async def tables(self) -> list[Table]: ...

    async def register(self, new: NewTable, actor_uid: int) -> Table: ...

    async def check_table(self, new: NewTable, actor_uid: int) -> None: ...

    async def unregister(self, table: Table, actor_uid: int) -> None: ...

    async def table_is(self, table: Table, rotated_by: int | None = None) -> None: ...


class Ledger:
    """Writes into both."""

    def __init__(self, catalogue: Catalogue, registry: Registry) -> None:
        self._catalogue = catalogue
        self._registry = registry
        self._changing = trio.Lock()
        self._doubt = (
            trio.Event()
        )  # set when the two may differ: the importer ended before it answered, targets have gone

    async def check(self, new: NewTable, actor_uid: int) -> None:
        """Refuse what `register` would refuse."""
        await self._catalogue.check_table(new, actor_uid)

    async def register(self, new: NewTable, actor_uid: int) -> Table:
        """Write *new* and return its table. Raises as the catalogue decides, Busy."""
        async with self._change():
            table = await self._catalogue.register(new, actor_uid)
            self._registry.put(table)
            return table

    async def unregister(self, table: Table, actor_uid: int) -> None:
        """Strike *table* out. Raises NotFound, Busy."""
        async with self._change():
            await self._catalogue.unregister(table, actor_uid)
            self._registry.remove(table.id)

    async def change(self, table: Table, rotated_by: int | None = None) -> None:
        """Write how *table* is now. Raises NotFound, Busy."""
        async with self._change():
            await self._catalogue.table_is(table, rotated_by=rotated_by)
            self._registry.put(table)

    async def stands(self, found: Table) -> None:
        """Write the state that *found* has, unless the table has been changed since it was looked at. Raises Busy."""
        async with self._change():
            now = self._registry.get(found.id)
            if now is not None and replace(now, state=found.state) == found:
                await self._catalogue.table_is(found)
                self._registry.put(found)

    async def reload(self) -> None:
        """Let the registry be what the catalogue says. Raises Busy."""
        async with self._changing:
            self._registry.load(await self._catalogue.tables())

    def doubt(self) -> None:
        """The two may differ: `run` reads the catalogue again."""
        self._doubt.set()

    async def run(self) -> None:
        """Find out what was done without an answer, until cancelled."""
        while True:
            await self._doubt.wait()
            try:
                await self.reload()
            except Busy:
                await trio.sleep(_PAUSE_SECONDS)
            else:
                self._doubt = trio.Event()

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[None]:
        async with self._changing:
            try:
                yield
            except Busy:
                self._doubt.set()
                raise
