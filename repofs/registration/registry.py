"""The tables that are registered, as the daemon knows them: in memory, so that no look-up waits for the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from repofs.model import ObjectRef
from repofs.table import Place, Table

SUFFIX = b".tiledb"

Told = Callable[[Table | None, Table | None], None]
"""Told what a table was (None: it is new) and what it is (None: it is not registered any more)."""


class Registry:
    """All tables of one repository. Every method is called on the event loop and does not block."""

    def __init__(self) -> None:
        self._by_id: dict[int, Table] = {}
        self._by_place: dict[Place, Table] = {}
        self._shown: dict[bytes, dict[bytes, Table]] = {}  # user directory -> name in Tables/, without suffix
        self._on: dict[ObjectRef, set[int]] = {}  # tables by target
        self._hearers: list[Told] = []

    def on_change(self, told: Told) -> None:
        """Have *told* called after each change."""
        self._hearers.append(told)

    def load(self, tables: Iterable[Table]) -> None:
        """Take in what the catalogue has: these tables and no others."""
        there = {table.id: table for table in tables}
        for number in self._by_id.keys() - there.keys():
            self.remove(number)
        for table in there.values():
            if self._by_id.get(table.id) != table:
                self.put(table)

    def put(self, table: Table) -> None:
        """Take in a table that is new, or has another state, place or group now."""
        before = self._by_id.get(table.id)
        if before is not None:
            self._take_out(before)
        self._by_id[table.id] = table
        self._by_place[table.place] = table
        for target in table.targets:
            self._on.setdefault(target, set()).add(table.id)
        self._shown.pop(table.user_directory, None)
        self._tell(before, table)

    def remove(self, number: int) -> None:
        """Forget a table that has been unregistered."""
        before = self._by_id.get(number)
        if before is not None:
            self._take_out(before)
            self._tell(before, None)

    def _take_out(self, table: Table) -> None:
        del self._by_id[table.id]
        if self._by_place.get(table.place) is table:  # else it changes places with another, which was told first
            del self._by_place[table.place]
        for target in table.targets:
            self._on[target].discard(table.id)
            if not self._on[target]:
                del self._on[target]
        self._shown.pop(table.user_directory, None)

    def _tell(self, before: Table | None, after: Table | None) -> None:
        for told in self._hearers:
            told(before, after)

    def all(self) -> list[Table]:
        """Return all tables, by id."""
        return [self._by_id[number] for number in sorted(self._by_id)]

    def get(self, number: int) -> Table | None:
        """Return ``FileAnnotation:number``; None when there is no such table."""
        return self._by_id.get(number)

    def at(self, place: Place) -> Table | None:
        """Return the table whose array lies at *place*."""
        return self._by_place.get(place)

    def linked(self, targets: Iterable[ObjectRef]) -> list[Table]:
        """Return the tables that are linked to any of *targets*, by id."""
        numbers = set[int]().union(*(self._on.get(target, ()) for target in targets))
        return [self._by_id[number] for number in sorted(numbers)]

    def below(self, path: bytes) -> list[Table]:
        """Return the tables whose arrays lie at or below *path* in the mount."""
        return [
            table
            for table in self._by_id.values()
            if table.place.kind == "mount" and (table.place.path == path or table.place.path.startswith(path + b"/"))
        ]

    def shown_in(self, user_directory: bytes) -> dict[bytes, Table]:
        """Return the tables in Tables/ of *user_directory* by name, without suffix: of several of one name, those that
        came later bear their number; once more, where the name with the number is that of another table."""
        found = self._shown.get(user_directory)
        if found is None:
            found = {}
            for table in self.all():
                if table.user_directory == user_directory:
                    name = table.name.encode()
                    while name in found:
                        name += b".%d" % table.id
                    found[name] = table
            self._shown[user_directory] = found
        return found

    def shown_name(self, table: Table) -> bytes:
        """Return the name of *table* in Tables/, without suffix."""
        return next(name for name, one in self.shown_in(table.user_directory).items() if one.id == table.id)
