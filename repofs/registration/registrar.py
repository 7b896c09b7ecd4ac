"""Registering: the one way from what somebody asks for, through whichever door, to a table.

    attribute ─┐
    HTTPS ─────┼▶ place ▶ array opened ▶ its token proved ▶ catalogue: targets, group, rights ▶ Registry
    table.create

All or nothing: until the catalogue has committed nothing is written anywhere, and each check has its own error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Protocol

import structlog

from repofs import access
from repofs.access import Act, Whose
from repofs.config import Tables as TableSettings
from repofs.errors import (
    AccessDenied,
    Busy,
    InvalidValue,
    NotFound,
    RepofsError,
    TokenMissing,
    TokenRejected,
)
from repofs.model import PermissionLevel
from repofs.people import People
from repofs.registration import tokens
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.processes import At
from repofs.registration.registry import SUFFIX, Registry
from repofs.registration.tokens import Guesses
from repofs.registration.watch import Watch
from repofs.repository.as_user import Caller
from repofs.table import (
    Examined,
    NewTable,
    Place,
    Registration,
    Secret,
    Table,
    TableState,
    checked_name,
)

log = structlog.get_logger(__name__)


class Arrays(Protocol):
    """What the processes do for those that are registered."""

    async def examine(self, at: At) -> Examined: ...

    async def rotate(self, at: At, token: Secret) -> None: ...


Refused = Callable[[int, str, str, bytes | None], None]
"""Told which act was refused to whom, why, and of what path in the mount."""


class Registrar:
    """Registers, changes and takes away the tables of one repository; *watch* looks after them in between."""

    def __init__(
        self,
        settings: TableSettings,
        places: Places,
        arrays: Arrays,
        registry: Registry,
        ledger: Ledger,
        watch: Watch,
        people: Callable[[], People],
        refused: Refused,
    ) -> None:
        self._settings = settings
        self._places = places
        self._arrays = arrays
        self._registry = registry
        self._ledger = ledger
        self._watch = watch
        self._people = people
        self._refused = refused
        self._guesses = Guesses()

    # --- registering ------------------------------------------------------------------------------

    async def register(self, who: Caller, home: bytes | None, asked: Registration, base: bytes | None = None) -> Table:
        """Register what *who* asks for as a table of the user of *home* (None: her own), and return it.

        *base* is the directory in the mount that a relative uri counts from; without a uri it is the array.

        Raises NotFound (no array; no such target), InvalidValue (no TileDB array, no place for one), TokenMissing,
        TokenRejected, TooManyGuesses, OtherGroup, AccessDenied, AlreadyExists, Unreachable, Busy (it was moved
        meanwhile); then nothing is done.
        """
        try:
            return await self._register(who, home, asked, base)
        except (AccessDenied, TokenRejected) as refusal:
            self._refused(who.uid, Act.REGISTER.name.lower(), refusal.message, base)
            raise

    async def _register(self, who: Caller, home: bytes | None, asked: Registration, base: bytes | None) -> Table:
        if not asked.targets:
            raise InvalidValue('no target is named: write "targets": ["Image:101"], or set user.repofs.target')
        home = home or self._home_of(who)
        place = self._place(asked.uri, base)
        with closing(await self._places.in_thread(self._places.open, place, who)) as at:
            self._require_in_mount(Act.VIEW, place, at, who.uid)
            examined = await self._arrays.examine(at)
            self._prove(examined, asked.token, who, place)
            table = await self._ledger.register(_new(asked, home, place, examined), who.uid)
            self._watch.know(table, at)
            await self._require_unmoved(table, at, who)
        log.info("table registered", table=str(table.ref), name=table.name, uri=table.uri, uid=who.uid)
        return table

    async def _require_unmoved(self, table: Table, at: At, who: Caller) -> None:
        """Take *table* away again when the array that was looked into lay elsewhere in the mount by the time when it
        was known: from then on it is taken along. Raises Busy."""
        if table.place.kind != "mount":
            return
        try:
            known = self._registry.get(table.id) or table
            with closing(await self._places.in_thread(self._places.open_table, known)) as now:
                assert at.directory is not None and now.directory is not None
                moved = not os.path.samestat(os.fstat(at.directory), os.fstat(now.directory))
        except (NotFound, InvalidValue):
            moved = True
        if moved:
            await self._ledger.unregister(table, who.uid)
            raise Busy("the array was moved meanwhile: register it where it is now")

    def _place(self, uri: str | None, base: bytes | None) -> Place:
        if uri is not None:
            return self._places.locate(uri, base)
        if base is None:
            raise InvalidValue("uri: name the array")
        return Place("mount", "", base)

    async def check(self, who: Caller, home: bytes, name: str, targets: tuple[str, ...], place: Place) -> None:
        """Refuse what `register` would refuse of an array that is not there yet: its name, targets and rights."""
        new = NewTable(checked_name(name, "table.create"), home, "", place, 0, (), targets, "", b"", b"")
        await self._ledger.check(new, who.uid)

    def _prove(self, examined: Examined, given: Secret | None, who: Caller, place: Place) -> None:
        """Refuse whose token is not the array's. Each wrong one counts against the user, and for the array."""
        if examined.token is None:
            if not self._settings.allow_without_token:
                raise TokenMissing("the array has no SecretToken: write one into its metadata, or make it with repofs")
            return
        if given is None:
            raise InvalidValue("the SecretToken of the array is missing: give it as token")
        self._guesses.require(who.uid, place)
        if not tokens.same(examined.token, given):
            self._guesses.wrong(who.uid, place)
            raise TokenRejected("that is not the SecretToken of the array")

    def _home_of(self, who: Caller) -> bytes:
        homes = sorted(name for name, home in self._people().homes.items() if home.uid == who.uid)
        if not homes:
            raise AccessDenied(f"uid {who.uid} has no directory here: an administrator adds one with repofs user add")
        return homes[0]

    def _require_in_mount(self, act: Act, place: Place, at: At, uid: int) -> None:
        """Refuse whom the kernel would refuse at the directory of an array in the mount; it does so itself outside."""
        if place.kind != "mount":
            return
        people = self._people()
        home = people.homes.get(place.path.split(b"/")[0])
        if home is None:
            raise NotFound(f"{os.fsdecode(place.path)!r} is in no user directory")
        assert at.directory is not None
        gid = os.fstat(at.directory).st_gid
        gid = gid if gid in people.levels else home.gid
        level = people.levels.get(gid, PermissionLevel.PRIVATE)
        access.require(act, people.actor(uid), Whose(home.uid, gid, level))

    # --- changing ---------------------------------------------------------------------------------

    async def unregister(self, table: Table, uid: int) -> None:
        """Take *table* away as *uid* asks, be it another's whose array in the mount is hers; the array stays.

        Raises AccessDenied, Busy.
        """
        if not self._is_array_of(table.place, uid):
            self._require(Act.DELETE, table, uid)
        await self._ledger.unregister(table, uid)
        self._watch.forget(table)

    async def rotate(self, table: Table, uid: int, token: Secret) -> Table:
        """Give the array of *table* another token, and take the old one out of its history.

        Raises AccessDenied, InvalidValue for an array in a store, RepofsError when it cannot be written.
        """
        self._require(Act.SET, table, uid)
        if table.place.kind == "store":
            raise InvalidValue("an array in a store is not written from here: write its token there, then register it")
        with closing(await self._watch.opened(table)) as at:
            self._require_in_mount(Act.SET, table.place, at, uid)
            await self._arrays.rotate(at, token)
            examined = await self._arrays.examine(at)
        salt = tokens.new_salt()
        rotated = replace(
            table,
            salt=salt,
            digest=tokens.digest(salt, token),
            manifest=examined.manifest,
            state=TableState.REGISTERED,
        )
        await self._ledger.change(rotated, rotated_by=uid)
        return rotated

    def _require(self, act: Act, table: Table, uid: int) -> None:
        people = self._people()
        level = people.levels.get(table.gid, PermissionLevel.PRIVATE)
        try:
            access.require(act, people.actor(uid), Whose(table.owner_uid, table.gid, level))
        except RepofsError as refusal:
            self._refused(uid, act.name.lower(), refusal.message, None)
            raise

    def _is_array_of(self, place: Place, uid: int) -> bool:
        """Whether the array at *place* lies in the user directory of *uid*, who cannot write it while it is a table."""
        home = self._people().homes.get(place.path.split(b"/")[0]) if place.kind == "mount" else None
        return home is not None and home.uid == uid

    def may_view(self, table: Table, uid: int) -> bool:
        """Whether *uid* may see *table*."""
        people = self._people()
        level = people.levels.get(table.gid, PermissionLevel.PRIVATE)
        return access.may(Act.VIEW, people.actor(uid), Whose(table.owner_uid, table.gid, level))


def _name_of(place: Place) -> str:
    return os.path.basename(place.path).removesuffix(SUFFIX).decode("utf-8", "backslashreplace")


def _new(asked: Registration, home: bytes, place: Place, examined: Examined) -> NewTable:
    salt = tokens.new_salt()
    return NewTable(
        name=checked_name(asked.name or _name_of(place), "table.register"),
        user_directory=home,
        uri=asked.uri or place.path.decode("utf-8", "backslashreplace"),
        place=place,
        rows=examined.rows,
        columns=examined.columns,
        targets=asked.targets,
        manifest=examined.manifest,
        salt=salt,
        digest=b"" if examined.token is None else tokens.digest(salt, examined.token),
    )
