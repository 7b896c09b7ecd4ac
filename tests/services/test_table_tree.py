"""Registered tables as the mount shows them, without a kernel: who finds which, what they look like, what is away."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs import acl, config
from repofs.access import Whose
from repofs.acl import Kind, Stored
from repofs.errors import AccessDenied, NotFound, NotPermitted, Unreachable
from repofs.model import PermissionLevel
from repofs.namespace.array_files import ArrayFiles
from repofs.namespace.exports import Exports
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.table_tree import TableNode, TableTree
from repofs.people import Actor, Home, People
from repofs.registration.processes import At
from repofs.registration.watch import Watch
from repofs.table import Form, Place, Table, TableState
from repofs.tables.exchange import File
from tests.helpers.namespace import ALICE, World, open_descriptors, world
from tests.helpers.tables import table

pytestmark = pytest.mark.trio

LAB, OTHER = 5000, 5001
OWNER, MEMBER, STRANGER = 5101, 5102, 5104
CONTENT = b"bytes of the array"
STORE = """
[[stores]]
name = "s3"
"""


def people() -> People:
    lab, both = frozenset({LAB}), frozenset({LAB, OTHER})
    actors = [Actor(OWNER, "alice", both), Actor(MEMBER, "bob", lab)]
    return People(
        {actor.uid: actor for actor in actors},
        {LAB: PermissionLevel.READ_ANNOTATE, OTHER: PermissionLevel.PRIVATE},
        {ALICE.encode(): Home(OWNER, LAB, both)},
        {"lab": LAB, "other": OTHER},
    )


def by(uid: int) -> Caller:
    return Caller(uid=uid, umask=0o022, task=os.getpid(), gid=os.getegid())


class OneStore:
    """A store that has one array with one file, until it is away."""

    def __init__(self) -> None:
        self.away = False

    async def list_files(self, at: At, below: bytes) -> Sequence[File]:
        if self.away:
            raise Unreachable("the store does not answer")
        assert at.path == b"in/store.tiledb"
        return {b"": [File(b"__meta", True, 0)], b"__meta": [File(b"one", False, len(CONTENT))]}[below]

    async def read_file(self, at: At, below: bytes, offset: int, size: int) -> bytes:
        return CONTENT[offset : offset + size]


class Shown:
    """The tree over a namespace, with a table in the mount, one in a source and one in a store."""

    def __init__(self, w: World, outside: Path) -> None:
        self.w = w
        self.outside = outside
        self.store = OneStore()
        for array in (w.path("cells.tiledb"), outside / "far.tiledb"):
            (array / "__meta").mkdir(parents=True)
            (array / "__meta/one").write_bytes(CONTENT)
            os.chmod(array, 0o755)
        self.exports = Exports(w.layout.root / "cache", 1000, self.export, w.handles.read)
        self.files = ArrayFiles(w.places.open_table, w.watch.look_anew, self.store, w.handles.read, w.patience)
        self.tree = TableTree(
            w.registry, w.rights, w.backing, self.files, self.exports, w.table_facts, w.watch.require_served
        )
        self.put(1, Place("mount", "", b"alice_2/cells.tiledb"), "cells")
        self.put(2, Place("source", "far", b"far.tiledb"), "far")
        self.put(3, Place("store", "s3", b"in/store.tiledb"), "stored")

    def put(self, number: int, place: Place, name: str, gid: int = LAB) -> Table:
        made = table(number, place, name=name, owner_uid=OWNER, gid=gid)
        self.w.registry.put(made)
        return made

    async def export(self, table: Table, form: Form, into: int) -> None:
        os.write(into, f"{table.name} as {form}".encode())

    @property
    def home(self) -> Node:
        return self.w.node("")

    def top(self, uid: int = OWNER, name: bytes = b"Tables") -> TableNode:
        found = self.tree.top(self.home, name, uid)
        assert found is not None
        found[0].lookups += 1
        return found[0]

    async def find(self, path: str, uid: int = OWNER) -> tuple[TableNode, os.stat_result]:
        node, status = self.top(uid), None
        for name in path.split("/"):
            node, status = await self.tree.lookup(node, os.fsencode(name), by(uid))
            node.lookups += 1
        assert status is not None
        return node, status

    async def names(self, path: str = "", uid: int = OWNER) -> list[str]:
        node = (await self.find(path, uid))[0] if path else self.top(uid)
        return [os.fsdecode(name) for name, _, _ in await self.tree.entries(node, by(uid))][2:]

    async def read(self, path: str, uid: int = OWNER) -> bytes:
        file = await self.tree.open((await self.find(path, uid))[0], os.O_RDONLY, by(uid))
        try:
            return bytes(await file.read(0, 1000))
        finally:
            file.close()


@pytest.fixture
async def t(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Shown]:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to several users: run the tests as root")
    outside = tmp_path / "outside"
    outside.mkdir()
    for directory in (*reversed(tmp_path.parents[:2]), tmp_path, outside):
        directory.chmod(0o755)
    settings = config.Settings(
        sources=(config.Source(name="far", path=outside),),
        stores=(config.Store(name="s3", uri="s3://bucket"),),
    )
    with world(tmp_path, settings) as w:
        await w.rights.adopt(people())
        shown = Shown(w, outside)
        nursery.start_soon(shown.exports.run)
        yield shown
        shown.exports.close()


# --- who finds what -------------------------------------------------------------------------------------


async def test_every_table_is_there_as_array_csv_and_parquet(t: Shown) -> None:
    assert await t.names() == [
        name + suffix for name in ("cells", "far", "stored") for suffix in (".tiledb", ".csv", ".parquet")
    ]
    for name in ("cells", "far", "stored"):
        assert await t.names(f"{name}.tiledb") == ["__meta"]
        assert await t.names(f"{name}.tiledb/__meta") == ["one"]
        assert await t.read(f"{name}.tiledb/__meta/one") == CONTENT
        for form in ("csv", "parquet"):
            assert await t.read(f"{name}.{form}") == f"{name} as {form}".encode()


async def test_only_who_may_view_a_table_finds_it(t: Shown) -> None:
    t.put(4, Place("mount", "", b"alice_2/secret.tiledb"), "secret", OTHER)
    assert "secret.csv" in await t.names()
    assert "secret.csv" not in await t.names(uid=MEMBER)
    with pytest.raises(NotFound):
        await t.find("secret.csv", MEMBER)
    assert not t.tree.names_in(t.home, STRANGER)
    assert t.tree.top(t.home, b"Tables", STRANGER) is None
    for number in (1, 2, 3):
        t.w.registry.remove(number)
    assert not t.tree.names_in(t.home, MEMBER)
    assert list(t.tree.names_in(t.home, OWNER)) == [b"Tables"]


async def test_who_may_view_no_more_is_refused_what_she_has_found(t: Shown) -> None:
    node, _ = await t.find("cells.csv", MEMBER)
    array, _ = await t.find("cells.tiledb", MEMBER)
    await t.w.rights.adopt(replace(people(), levels={LAB: PermissionLevel.PRIVATE, OTHER: PermissionLevel.PRIVATE}))
    for attempt in (t.tree.open(node, os.O_RDONLY, by(MEMBER)), t.tree.entries(array, by(MEMBER))):
        with pytest.raises(AccessDenied):
            await attempt
    t.w.registry.remove(1)
    with pytest.raises(NotFound, match="not registered any more"):
        await t.tree.open(node, os.O_RDONLY, by(OWNER))


async def test_without_tables_there_is_no_such_directory(t: Shown) -> None:
    for number in (1, 2, 3):
        t.w.registry.remove(number)
    assert not t.tree.names_in(t.home, OWNER)
    assert not t.tree.names_in(t.w.node("cells.tiledb"), OWNER)
    assert not t.tree.names_in(t.w.table.root, OWNER)


async def test_a_directory_tables_of_old_stays_and_they_are_beside_it(t: Shown) -> None:
    t.w.path("Tables").mkdir()
    assert list(t.tree.names_in(t.home, OWNER)) == [b"Tables (registered)"]
    assert t.tree.top(t.home, b"Tables", OWNER) is None
    t.top(name=b"Tables (registered)")
    t.w.path("Tables (registered)").mkdir()
    assert not t.tree.names_in(t.home, OWNER)


@pytest.mark.parametrize("name", ["cells", "cells.txt", "none.csv", "cells.tiledb/none"])
async def test_nothing_else_is_there(t: Shown, name: str) -> None:
    with pytest.raises(NotFound):
        await t.find(name)


async def test_dots_lead_up_and_not_out(t: Shown) -> None:
    meta, _ = await t.find("cells.tiledb/__meta")
    array, _ = await t.tree.lookup(meta, b"..", by(OWNER))
    top, _ = await t.tree.lookup(array, b"..", by(OWNER))
    again, _ = await t.tree.lookup(top, b"..", by(OWNER))
    assert (array.place.below, top.place.is_top, again) == (b"", True, top)
    assert (await t.tree.lookup(meta, b".", by(OWNER)))[0] is meta


async def test_what_the_kernel_has_forgotten_is_kept_no_longer(t: Shown) -> None:
    node, _ = await t.find("cells.csv")
    t.tree.nodes.forget(node.ino, 1)
    t.tree.nodes.forget(t.top().ino, 2)
    assert len(t.tree.nodes) == 0
    with pytest.raises(OSError) as stale:
        t.tree.nodes.get(node.ino)
    assert stale.value.errno == errno.ESTALE


# --- how it looks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("cells.tiledb", Kind.ARRAY, 0),
        ("cells.tiledb/__meta", Kind.SHOWN_DIRECTORY, None),
        ("cells.tiledb/__meta/one", Kind.SHOWN, len(CONTENT)),
        ("stored.tiledb/__meta/one", Kind.SHOWN, len(CONTENT)),
        ("cells.csv", Kind.SHOWN, 0),
    ],
)
async def test_it_is_its_owners_and_groups_and_nobody_writes_its_files(
    t: Shown, path: str, kind: Kind, size: int | None
) -> None:
    node, status = await t.find(path)
    whose = Whose(OWNER, LAB, PermissionLevel.READ_ANNOTATE)
    expected = acl.shown(people(), kind, whose, Stored(OWNER, 0o444))
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (OWNER, LAB, expected.mode)
    assert stat.S_ISDIR(status.st_mode) == (kind is not Kind.SHOWN)
    assert bool(status.st_mode & 0o222) == (kind is Kind.ARRAY)  # by whose attributes its owner takes it away
    assert await t.tree.acl(node, by(STRANGER)) == expected.acl
    assert size is None or status.st_size == size
    assert await t.tree.status(node, by(OWNER)) == status


async def test_its_time_is_that_of_the_registration_and_its_size_the_true_one_once_it_was_made(t: Shown) -> None:
    node, status = await t.find("cells.csv")
    assert status.st_mtime_ns == 1795348800 * 10**9
    await t.read("cells.csv")
    assert (await t.tree.status(node, by(OWNER))).st_size == len("cells as csv")


async def test_the_kernel_keeps_what_nobody_changes_until_it_is_anothers(t: Shown) -> None:
    kept = [(await t.find(path))[0] for path in ("cells.tiledb/__meta", "cells.tiledb/__meta/one")]
    asked = [
        (await t.find(path))[0] for path in ("cells.tiledb", "cells.csv", "far.tiledb/__meta", "stored.tiledb/__meta")
    ]
    assert [node.lasting for node in (*kept, *asked)] == [True] * 2 + [False] * 4
    for change in (
        lambda: t.w.rights.adopt(replace(people(), levels={LAB: PermissionLevel.PRIVATE})),
        lambda: _put(t, replace(t.w.registry.get(1) or pytest.fail(), gid=OTHER)),
    ):
        t.w.kernel.told.clear()
        await change()
        assert t.w.kernel.told >= {node.ino for node in kept}


async def _put(t: Shown, table: Table) -> None:
    t.w.registry.put(table)


async def test_it_is_not_opened_to_write(t: Shown) -> None:
    node, _ = await t.find("cells.tiledb/__meta/one")
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        with pytest.raises(OSError) as refused:
            await t.tree.open(node, flags, by(OWNER))
        assert refused.value.errno == errno.EROFS


# --- what is in the way ---------------------------------------------------------------------------------


async def test_links_and_devices_in_an_array_are_not_shown(t: Shown) -> None:
    array = t.outside / "far.tiledb"
    (array / "link").symlink_to("/etc/passwd")
    (array / "out").symlink_to("..")
    os.mkfifo(array / "pipe")
    assert await t.names("far.tiledb") == ["__meta"]
    for name in ("link", "out", "pipe"):
        with pytest.raises(OSError):
            await t.find(f"far.tiledb/{name}")


async def test_what_its_owner_may_not_read_outside_is_read_by_nobody(t: Shown) -> None:
    """The daemon could; and she may have moved it there."""
    secret = t.outside / "far.tiledb/secret"
    secret.write_bytes(b"root's")
    secret.chmod(0o600)
    with pytest.raises(PermissionError):
        await t.read("far.tiledb/secret")


async def test_an_array_that_is_away_says_so_and_the_others_are_there(t: Shown) -> None:
    (t.outside / "far.tiledb").rename(t.outside / "gone")
    t.store.away = True
    for path in ("far.tiledb", "stored.tiledb"):
        with pytest.raises(Unreachable) as away:
            await t.names(path)
        assert away.value.errno == errno.EHOSTUNREACH
        with pytest.raises(Unreachable):
            await t.read(f"{path}/__meta/one")
    assert len(await t.names()) == 9
    assert await t.read("cells.tiledb/__meta/one") == CONTENT


async def test_a_source_that_hangs_holds_up_nobody_else(t: Shown) -> None:
    hanging, go_on = [], threading.Event()
    open_table: Callable[[Table], At] = t.w.places.open_table

    def slow(table: Table) -> At:
        if table.place.kind == "source":
            hanging.append(table)
            go_on.wait()
        return open_table(table)

    t.files._open_table = slow
    try:
        async with trio.open_nursery() as waiting:
            for _ in range(20):
                waiting.start_soon(t.names, "far.tiledb")
            with trio.fail_after(5):
                while len(hanging) < 16:  # noqa: ASYNC110 - threads have no event of trio's
                    await trio.sleep(0.01)
                assert len(await t.names()) == 9
                assert await t.read("cells.tiledb/__meta/one") == CONTENT
                assert await t.read("stored.tiledb/__meta/one") == CONTENT
            waiting.cancel_scope.cancel()
    finally:
        go_on.set()


@pytest.mark.parametrize("state", [TableState.CHANGED, TableState.MISMATCH])
async def test_one_that_has_changed_is_listed_and_read_as_the_settings_say(t: Shown, state: TableState) -> None:
    cells = t.w.registry.get(1)
    assert cells is not None
    t.w.registry.put(replace(cells, state=state))
    if state is TableState.CHANGED:
        assert await t.read("cells.csv") == b"cells as csv"
    else:
        with pytest.raises(Unreachable):
            await t.read("cells.csv")
    settings = config.Tables(serve_changed=False)
    t.tree._require_served = Watch(settings, *[None] * 4).require_served  # type: ignore[arg-type]
    assert "cells.tiledb" in await t.names()
    for path in ("cells.csv", "cells.parquet", "cells.tiledb/__meta/one"):
        with pytest.raises(Unreachable):
            await t.read(path)
    assert await t.read("far.csv") == b"far as csv"


async def test_a_directory_of_an_array_is_not_read_as_a_file(t: Shown) -> None:
    for name in ("cells", "far", "stored"):
        with pytest.raises((NotPermitted, OSError)):
            await t.read(f"{name}.tiledb/__meta")


async def test_no_descriptor_is_left(t: Shown) -> None:
    await t.names("cells.tiledb")
    before = open_descriptors()
    for name in ("cells", "far", "stored"):
        await t.names(f"{name}.tiledb/__meta")
        await t.read(f"{name}.tiledb/__meta/one")
    assert open_descriptors() == before
