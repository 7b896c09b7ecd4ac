"""Registering a table: each check refuses with its own error, in order, and nothing is written before the last."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trio

from repofs.config import Settings, Source, Tables
from repofs.errors import (
    AccessDenied,
    AlreadyExists,
    Busy,
    InvalidValue,
    NotFound,
    OtherGroup,
    RepofsError,
    TokenMissing,
    TokenRejected,
    TooManyGuesses,
    Unreachable,
)
from repofs.model import ObjectRef, PermissionLevel
from repofs.people import Actor, Home, People
from repofs.registration import tokens
from repofs.registration import watch as watch_module
from repofs.registration.ledger import Ledger
from repofs.registration.places import Places
from repofs.registration.processes import At
from repofs.registration.registrar import Registrar
from repofs.registration.registry import Registry
from repofs.registration.watch import NotLookedAt, Watch
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.repository.sources import Sources
from repofs.table import Column, Examined, NewTable, Place, Registration, Secret, Table, TableState

pytestmark = pytest.mark.trio

UID = os.geteuid() or 65001
ME = Caller(UID, os.getegid(), ())
TOKEN = Secret(b"the-token-of-the-array")
FOUND = Examined(TOKEN, 7, (Column("image", "Image", "int64"),), "manifest")
ASKED = Registration(None, None, ("Image:101",), TOKEN)
ARRAY = b"alice_2/cells.tiledb"


@dataclass
class Arrays:
    """What an array is found to be, or the error of looking."""

    found: Examined | RepofsError = FOUND
    seen: list[At] = field(default_factory=list)

    async def examine(self, at: At) -> Examined:
        self.seen.append(at)
        if isinstance(self.found, RepofsError):
            raise self.found
        return self.found

    async def rotate(self, at: At, token: Secret) -> None:
        assert isinstance(self.found, Examined)
        self.found = replace(self.found, token=token, manifest="rotated")


@dataclass
class Catalogue:
    """Keeps what it is told, or refuses it."""

    refusal: RepofsError | None = None
    lost_answers: bool = False  # what is done is done, and the importer ends before it says so
    kept: dict[int, Table] = field(default_factory=dict)

    async def tables(self) -> list[Table]:
        return list(self.kept.values())

    async def register(self, new: NewTable, actor_uid: int) -> Table:
        await self.check_table(new, actor_uid)
        refs = tuple(ObjectRef.parse(target) for target in new.targets)
        table = Table(
            9, new.name, new.user_directory, UID, 5000, new.uri, new.place, new.rows, new.columns, refs,
            "2026-11-22T12:00:00.000+00:00", new.manifest, new.salt, new.digest,
        )  # fmt: skip
        self.kept[table.id] = table
        if self.lost_answers:
            raise Busy("the importer has just been restarted")
        return table

    async def check_table(self, new: NewTable, actor_uid: int) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def unregister(self, table: Table, actor_uid: int) -> None:
        del self.kept[table.id]

    async def table_is(self, table: Table, rotated_by: int | None = None) -> None:
        self.kept[table.id] = table


@dataclass
class House:
    layout: Layout
    registrar: Registrar
    watch: Watch
    ledger: Ledger
    arrays: Arrays
    catalogue: Catalogue
    registry: Registry
    refused: list[tuple[int, str, str]]


def house(tmp_path: Path, settings: Tables | None = None, level: PermissionLevel = PermissionLevel.READ_ONLY) -> House:
    layout = Layout.create(tmp_path / "repository", "")
    (layout.managed / os.fsdecode(ARRAY)).mkdir(parents=True)
    (tmp_path / "outside" / "cells.tiledb").mkdir(parents=True)
    sources = Sources((Source(name="data", path=tmp_path / "outside"),), layout.root)
    me = Actor(UID, "alice", frozenset({5000}))
    other = Actor(UID + 1, "bob", frozenset({5000}))
    people = People(
        {UID: me, UID + 1: other}, {5000: level}, {b"alice_2": Home(UID, 5000, frozenset({5000}))}, {"lab": 5000}
    )
    arrays, catalogue, registry, refused = Arrays(), Catalogue(), Registry(), []
    ledger = Ledger(catalogue, registry)
    settings, places = settings or Tables(), Places(layout, Settings(), sources, tmp_path / "mnt")
    watch = Watch(settings, places, arrays, registry, ledger)
    registrar = Registrar(
        settings,
        places,
        arrays,
        registry,
        ledger,
        watch,
        lambda: people,
        lambda uid, act, why, path: refused.append((uid, act, why)),
    )
    return House(layout, registrar, watch, ledger, arrays, catalogue, registry, refused)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[House]:
    yield house(tmp_path)


async def test_what_is_proved_is_a_table(lab: House) -> None:
    table = await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    assert (table.name, table.rows, table.place) == ("cells", 7, Place("mount", "", ARRAY))
    assert table.digest == tokens.digest(table.salt, TOKEN)
    assert lab.registry.at(table.place) == table == lab.catalogue.kept[9]
    assert TOKEN.reveal() not in repr(table).encode()


async def test_by_its_path_it_is_the_same_table(lab: House, tmp_path: Path) -> None:
    there = replace(ASKED, uri=f"{tmp_path}/mnt/alice_2/cells.tiledb")
    table = await lab.registrar.register(ME, None, there)
    assert (table.place, table.user_directory, table.uri) == (Place("mount", "", ARRAY), b"alice_2", there.uri)


REFUSALS = [
    (NotFound("there is no Image:101"), errno.ENOENT),
    (OtherGroup("the targets are of several groups"), errno.EXDEV),
    (AccessDenied("bob may not register a table on this"), errno.EACCES),
    (AlreadyExists("the array is registered already"), errno.EEXIST),
]


@pytest.mark.parametrize(("refusal", "code"), REFUSALS)
async def test_what_the_catalogue_refuses_leaves_no_table(lab: House, refusal: RepofsError, code: int) -> None:
    lab.catalogue.refusal = refusal
    with pytest.raises(RepofsError) as caught:
        await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    assert caught.value.errno == code
    assert lab.registry.all() == []


@pytest.mark.parametrize(
    ("found", "asked", "error"),
    [
        (InvalidValue("this is no TileDB array"), ASKED, InvalidValue),
        (NotFound("nothing is there"), ASKED, NotFound),
        (Unreachable("the store does not answer"), ASKED, Unreachable),
        (replace(FOUND, token=None), ASKED, TokenMissing),
        (FOUND, replace(ASKED, token=Secret(b"another")), TokenRejected),
        (FOUND, replace(ASKED, token=None), InvalidValue),
        (FOUND, replace(ASKED, targets=()), InvalidValue),
        (FOUND, replace(ASKED, uri="/etc"), InvalidValue),
        (FOUND, replace(ASKED, uri="other.tiledb"), NotFound),
    ],
)
async def test_what_is_not_proved_never_comes_to_the_catalogue(
    lab: House, found: Examined | RepofsError, asked: Registration, error: type[RepofsError]
) -> None:
    lab.arrays.found = found
    lab.catalogue.refusal = AlreadyExists("asked")
    with pytest.raises(error) as caught:
        await lab.registrar.register(ME, b"alice_2", asked, ARRAY)
    assert type(caught.value) is error
    assert lab.registry.all() == []


async def test_a_wrong_token_is_audited_and_soon_refused_unseen(lab: House) -> None:
    wrong = replace(ASKED, token=Secret(b"guess"))
    for _ in range(tokens.GUESSES):
        with pytest.raises(TokenRejected):
            await lab.registrar.register(ME, b"alice_2", wrong, ARRAY)
    with pytest.raises(TooManyGuesses):
        await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    assert lab.refused == [(UID, "register", "that is not the SecretToken of the array")] * tokens.GUESSES


async def test_an_array_without_a_token_only_by_the_settings(tmp_path: Path) -> None:
    lab = house(tmp_path, Tables(allow_without_token=True))
    lab.arrays.found = replace(FOUND, token=None)
    assert (await lab.registrar.register(ME, b"alice_2", replace(ASKED, token=None), ARRAY)).digest == b""


async def test_who_may_not_see_the_array_does_not_come_to_its_token(tmp_path: Path) -> None:
    lab = house(tmp_path, level=PermissionLevel.PRIVATE)
    with pytest.raises(AccessDenied, match="bob may not see this"):
        await lab.registrar.register(replace(ME, uid=UID + 1), b"alice_2", ASKED, ARRAY)
    assert lab.arrays.seen == []


async def test_an_array_outside_is_opened_by_whoever_asks(lab: House, tmp_path: Path) -> None:
    who = Caller(os.geteuid(), os.getegid(), ())  # pytest's directories are closed to all others
    await lab.registrar.register(who, b"alice_2", replace(ASKED, uri=f"{tmp_path}/outside/cells.tiledb"))
    assert [at.who for at in lab.arrays.seen] == [who]


async def test_who_has_no_directory_registers_nothing(lab: House) -> None:
    with pytest.raises(AccessDenied, match="has no directory here"):
        await lab.registrar.register(replace(ME, uid=UID + 1), None, replace(ASKED, uri="/x"), None)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (FOUND, TableState.REGISTERED),
        (replace(FOUND, manifest="other"), TableState.CHANGED),
        (InvalidValue("this is no TileDB array"), TableState.CHANGED),
        (replace(FOUND, token=Secret(b"other")), TableState.MISMATCH),
        (replace(FOUND, token=None), TableState.MISMATCH),
        (Unreachable("the store does not answer"), TableState.UNREACHABLE),
        (NotFound("nothing is there"), TableState.UNREACHABLE),
    ],
)
async def test_a_later_look_tells_how_it_stands(
    lab: House, autojump_clock: object, found: Examined | RepofsError, state: TableState
) -> None:
    table = await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    lab.arrays.found = found
    assert (await lab.watch.look(table)).state is state
    assert lab.catalogue.kept[9].state is state
    lab.arrays.found = FOUND
    assert (await lab.watch.look(table)).state is state  # believed for a moment
    await trio.sleep(watch_module.FRESH_SECONDS)
    assert (await lab.watch.look(table)).state is TableState.REGISTERED


async def test_what_has_changed_is_served_by_the_settings_and_another_token_never(tmp_path: Path) -> None:
    (tmp_path / "2").mkdir()
    strict, lenient = house(tmp_path, Tables(serve_changed=False)), house(tmp_path / "2")
    table = await strict.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    lenient.watch.require_served(replace(table, state=TableState.CHANGED))
    for watch, state in (
        (strict.watch, TableState.CHANGED),
        (strict.watch, TableState.MISMATCH),
        (lenient.watch, TableState.MISMATCH),
    ):
        with pytest.raises(Unreachable, match="not what was registered"):
            watch.require_served(replace(table, state=state))
    strict.watch.require_served(table)


async def test_another_directory_in_its_place_is_not_read_before_it_is_known_to_be_the_array(lab: House) -> None:
    table = await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    os.close(lab.watch.open_table(table).directory or -1)
    array = lab.layout.managed / os.fsdecode(ARRAY)
    array.rename(array.with_suffix(".away"))
    array.mkdir()
    with pytest.raises(NotLookedAt):
        lab.watch.open_table(table)
    lab.arrays.found = replace(FOUND, manifest="of another array with the same token")
    await lab.watch.look_anew(table)
    assert lab.registry.all()[0].state is TableState.UNREACHABLE
    with pytest.raises(NotLookedAt):
        lab.watch.open_table(table)
    with pytest.raises(Unreachable):
        await lab.registrar.rotate(table, UID, Secret(b"another-token"))
    lab.arrays.found = FOUND  # a copy, put back
    await lab.watch.look_anew(table)
    assert lab.registry.all()[0].state is TableState.REGISTERED
    os.close(lab.watch.open_table(table).directory or -1)


async def test_unregistered_it_is_no_table(lab: House) -> None:
    table = await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    with pytest.raises(AccessDenied):
        await lab.registrar.unregister(table, UID + 1)
    await lab.registrar.unregister(table, UID)
    assert lab.registry.all() == [] == list(lab.catalogue.kept)


async def test_rotated_the_other_token_counts(lab: House) -> None:
    table = await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
    with pytest.raises(AccessDenied):
        await lab.registrar.rotate(table, UID + 1, Secret(b"stolen-token"))
    rotated = await lab.registrar.rotate(table, UID, Secret(b"another-token"))
    assert rotated.digest == tokens.digest(rotated.salt, Secret(b"another-token")) != table.digest
    assert (await lab.watch.look(rotated)).state is TableState.REGISTERED


async def test_the_token_of_an_array_in_a_store_is_not_written_from_here(lab: House) -> None:
    table = replace(await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY), place=Place("store", "lab", b"x"))
    with pytest.raises(InvalidValue, match="not written from here"):
        await lab.registrar.rotate(table, UID, Secret(b"another-token"))


async def test_what_was_done_without_an_answer_is_found_out(lab: House, autojump_clock: object) -> None:
    lab.catalogue.lost_answers = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lab.ledger.run)
        with pytest.raises(Busy):
            await lab.registrar.register(ME, b"alice_2", ASKED, ARRAY)
        assert lab.registry.all() == []
        await trio.sleep(2)
        assert [table.id for table in lab.registry.all()] == [9]
        nursery.cancel_scope.cancel()
