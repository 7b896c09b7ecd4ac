"""Registering: the one way from what somebody asks for, through whichever door, to a table.

    attribute ─┐
    HTTPS ─────┼▶ place ▶ array opened ▶ its token proved ▶ catalogue: targets, group, rights ▶ Registry
    table.create

All or nothing: until the catalogue has committed nothing is written anywhere, and each check has its own error.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Protocol

import structlog
import trio

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
    Unreachable,
)
from repofs.model import PermissionLevel
from repofs.people import People
from repofs.registration import tokens
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.processes import At
from repofs.registration.registry import SUFFIX, Registry
from repofs.registration.tokens import Guesses
from repofs.repository.as_user import Caller
from repofs.table import (
    Examined,
    Form,
    NewTable,
    Place,
    Registration,
    Secret,
    Selection,
    Table,
    TableState,
    checked_name,
)
from repofs.threads import in_thread

_AT_A_TIME = 16  # a store that hangs holds these threads up, and no others
LOOK_SECONDS = 600.0  # from one look into all arrays to the next
FRESH_SECONDS = 10.0  # for which what was found of an array is believed

log = structlog.get_logger(__name__)


class Arrays(Protocol):
    """What the processes do that look into arrays."""

    async def examine(self, at: At) -> Examined: ...

    async def rotate(self, at: At, token: Secret) -> None: ...

    async def export(self, at: At, form: Form, selection: Selection, into: int) -> None: ...


Refused = Callable[[int, str, str, bytes | None], None]
"""Told which act was refused to whom, why, and of what path in the mount."""


class NotLookedAt(Unreachable):
    """Another directory lies where the array of a table was: it is to be looked into before it is read."""


class Registrar:
    """Registers, looks after and takes away the tables of one repository."""

    def __init__(
        self,
        settings: TableSettings,
        places: Places,
        arrays: Arrays,
        registry: Registry,
        ledger: Ledger,
        people: Callable[[], People],
        refused: Refused,
    ) -> None:
        self._settings = settings
        self._places = places
        self._arrays = arrays
        self._registry = registry
        self._ledger = ledger
        self._people = people
        self._refused = refused
        self._guesses = Guesses()
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)
        self._looked: dict[int, float] = {}  # tables, by when their array was looked into
        self._known: dict[int, tuple[int, int]] = {}  # and which directory was found to be it

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
        async with self._opened(self._places.open, place, who) as at:
            self._require_in_mount(Act.VIEW, place, at, who.uid)
            examined = await self._arrays.examine(at)
            self._prove(examined, asked.token, who, place)
            table = await self._ledger.register(_new(asked, home, place, examined), who.uid)
            self._know(table, at)
            await self._require_unmoved(table, at, who)
        log.info("table registered", table=str(table.ref), name=table.name, uri=table.uri, uid=who.uid)
        return table

    async def _require_unmoved(self, table: Table, at: At, who: Caller) -> None:
        """Take *table* away again when the array that was looked into lay elsewhere in the mount by the time when it
        was known: from then on it is taken along. Raises Busy."""
        if table.place.kind != "mount":
            return
        try:
            async with self._opened(self._places.open_table, self._registry.get(table.id) or table) as now:
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

    # --- looking ----------------------------------------------------------------------------------

    @asynccontextmanager
    async def _opened(self, opening: Callable[..., At], *arguments: object) -> AsyncIterator[At]:
        at = await in_thread(opening, *arguments, limiter=self._limiter)
        try:
            yield at
        finally:
            _close(at)

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
            async with self._opened(self._places.open_table, table) as at:
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
            self._know(table, at)  # be it another directory: it was put back, or its file system mounted again
            return TableState.REGISTERED
        if self._known.setdefault(table.id, _directory(at)) != _directory(at):
            log.warning("another array lies where that of a table was", table=str(table.ref))
            return TableState.UNREACHABLE
        return TableState.MISMATCH if found is not None and digest != table.digest else TableState.CHANGED

    def _know(self, table: Table, at: At) -> None:
        self._known[table.id] = _directory(at)

    def open_table(self, table: Table) -> At:
        """Open the array of a registered table, for whoever may see that. Blocking.

        Raises NotLookedAt when it is another directory than was looked into; as `Places.open_table`.
        """
        at = self._places.open_table(table)
        if at.directory is not None and self._known.get(table.id) != _directory(at):
            _close(at)
            raise NotLookedAt(f"another array than that of {table.ref} lies in its place")
        return at

    @asynccontextmanager
    async def _opened_table(self, table: Table) -> AsyncIterator[At]:
        try:
            at = await in_thread(self.open_table, table, limiter=self._limiter)
        except NotLookedAt:
            await self.look_anew(table)
            at = await in_thread(self.open_table, table, limiter=self._limiter)
        try:
            yield at
        finally:
            _close(at)

    async def export(self, table: Table, form: Form, selection: Selection, into: int) -> None:
        """Write what is selected of *table* into the descriptor *into*. Raises Unreachable, InvalidValue."""
        self.require_served(await self.look(table))
        async with self._opened_table(table) as at:
            await self._arrays.export(at, form, selection, into)

    # --- changing ---------------------------------------------------------------------------------

    async def unregister(self, table: Table, uid: int) -> None:
        """Take *table* away as *uid* asks, be it another's whose array in the mount is hers; the array stays.

        Raises AccessDenied, Busy.
        """
        if not self._is_array_of(table.place, uid):
            self._require(Act.DELETE, table, uid)
        await self._ledger.unregister(table, uid)
        self._looked.pop(table.id, None)
        self._known.pop(table.id, None)

    async def rotate(self, table: Table, uid: int, token: Secret) -> Table:
        """Give the array of *table* another token, and take the old one out of its history.

        Raises AccessDenied, InvalidValue for an array in a store, RepofsError when it cannot be written.
        """
        self._require(Act.SET, table, uid)
        if table.place.kind == "store":
            raise InvalidValue("an array in a store is not written from here: write its token there, then register it")
        async with self._opened_table(table) as at:
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

    def require_served(self, table: Table) -> None:
        """Refuse (Unreachable) to read a table whose array has another token, or has changed and the settings do not
        allow that."""
        if table.state is TableState.MISMATCH or (
            table.state is TableState.CHANGED and not self._settings.serve_changed
        ):
            raise Unreachable(f"{table.ref} is not what was registered ({table.state}): have it registered again")


def _close(at: At) -> None:
    if at.directory is not None:
        os.close(at.directory)


def _directory(at: At) -> tuple[int, int]:
    if at.directory is None:
        return 0, 0  # a store has none
    status = os.fstat(at.directory)
    return status.st_dev, status.st_ino


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
