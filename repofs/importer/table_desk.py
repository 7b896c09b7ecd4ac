"""Tables in the importer process: each is registered, changed or taken away together with its line of the audit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from repofs.administration.user_directories import UserDirectories
from repofs.catalog import audit, tables
from repofs.catalog.engine import Connection, Engine
from repofs.config import Settings
from repofs.errors import NotFound, RepofsError
from repofs.importer.commits import Commits
from repofs.importer.refusal import refused
from repofs.importer.transactions import Owners
from repofs.importer.wire import Answer, ListTables, RegisterTable, TableIs, TableMessage, UnregisterTable
from repofs.people import People
from repofs.table import Table
from repofs.threads import in_thread


class TableDesk:
    """Answers each message about tables."""

    def __init__(self, settings: Settings, commits: Commits, catalogue: Engine, who: Callable[[], People]) -> None:
        self._owners = Owners(UserDirectories(settings.repository))
        self._commits = commits
        self._catalogue = catalogue
        self._who = who

    async def see_to(self, message: TableMessage) -> Answer:
        """Return the answer: a table, or all of them, as JSON."""
        try:
            return Answer(message.id, msgspec.json.encode(await self._see_to(message)).decode())
        except RepofsError as error:
            return Answer(message.id, None, error.message, error.code)
        except Exception as error:  # noqa: BLE001 -- told in the answer
            return refused(message.id, "a table could not be written into the catalogue", error)

    async def _see_to(self, message: TableMessage) -> Table | list[Table] | None:
        match message:
            case ListTables():
                return await in_thread(self._every)
            case RegisterTable():
                return await self._commits.write(self._register, message)
            case UnregisterTable():
                return await self._commits.write(_unregister, message)
            case TableIs():
                return await self._commits.write(_is, message)

    def _every(self) -> list[Table]:
        with self._catalogue.begin() as conn:
            return tables.every(conn)

    def _register(self, conn: Connection, items: Sequence[RegisterTable]) -> Sequence[Table | None]:
        return [self._register_one(conn, one) for one in items]

    def _register_one(self, conn: Connection, asked: RegisterTable) -> Table | None:
        owner, _ = self._owners.read(conn).get(asked.new.user_directory, (None, None))
        if owner is None:
            name = asked.new.user_directory.decode(errors="backslashreplace")
            raise NotFound(f"{name} is the directory of no experimenter: add one with repofs user add")
        actor = self._who().actor(asked.actor_uid)
        if asked.only_check:
            tables.check(conn, asked.new, owner, actor)
            return None
        table = tables.register(conn, asked.new, owner, actor)
        detail = {"name": table.name, "uri": table.uri, "targets": [str(target) for target in table.targets]}
        audit.record(conn, asked.actor_uid, "register", table.ref, detail)
        return table


def _unregister(conn: Connection, items: Sequence[UnregisterTable]) -> Sequence[None]:
    for one in items:
        tables.unregister(conn, one.table.id)
        audit.record(conn, one.actor_uid, "unregister", one.table.ref, {"name": one.table.name, "uri": one.table.uri})
    return [None] * len(items)


def _is(conn: Connection, items: Sequence[TableIs]) -> Sequence[None]:
    for one in items:
        tables.change(conn, one.table)
        if one.rotated_by is not None:
            audit.record(conn, one.rotated_by, "rotate", one.table.ref)
    return [None] * len(items)
