"""Views of the catalogue over a real catalogue, without a kernel: names, pages, what is kept, who finds what."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.catalog import engine, schema, views
from repofs.catalog.filesets import FinishedImport
from repofs.errors import AccessDenied, Busy, NotFound
from repofs.model import PermissionLevel
from repofs.namespace import view_listing
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.view_tree import ViewNode, ViewTree
from repofs.people import Actor, Home, People
from repofs.views import Look, Page
from tests.helpers.catalogue import IMAGE, Import, Lab, imported, lab
from tests.helpers.namespace import ALICE, World, world

pytestmark = pytest.mark.trio

LAB = 5000
OWNER, MEMBER, STRANGER = 5001, 5002, 5099


def people(level: PermissionLevel = PermissionLevel.READ_ONLY) -> People:
    mine = frozenset({LAB})
    actors = {uid: Actor(uid, name, mine) for uid, name in ((OWNER, "alice"), (MEMBER, "bob"))}
    return People(actors, {LAB: level}, {ALICE.encode(): Home(OWNER, LAB, mine)}, {"lab": LAB})


def by(uid: int) -> Caller:
    return Caller(uid=uid, umask=0o022, task=os.getpid(), gid=os.getegid())


class Views:
    """The tree over a catalogue, which counts how often that is asked."""

    def __init__(self, w: World, catalogue: engine.Engine) -> None:
        self.w = w
        self.catalogue = catalogue
        self.asked: list[Look] = []
        self.is_away = False
        self.tree = ViewTree(w.rights, self.ask, w.layout.thumbnail)
        with catalogue.begin() as conn:
            self.lab: Lab = lab(conn)

    async def ask(self, look: Look) -> Page:
        self.asked.append(look)
        if self.is_away:
            raise Busy("the catalogue is not ready yet: try again in a moment")
        await trio.lowlevel.checkpoint()
        with self.catalogue.begin() as conn:
            return views.page(conn, look)

    def bring(self, *paths: bytes, more: Sequence[Import] = ()) -> list[FinishedImport]:
        """Import single files of Alice's."""
        with self.catalogue.begin() as conn:
            return imported(conn, *(Import(self.lab.alice, (path,)) for path in paths), *more)

    def together(self, *names: bytes, images: int = 1) -> int:
        """Import one fileset of files that have these names in their import directory; return its first image."""
        several = tuple(replace(IMAGE, series=number) for number in range(images))
        [made] = self.bring(more=[Import(self.lab.alice, [b"D/%d" % number for number in range(len(names))], several)])
        with self.catalogue.begin() as conn:
            for file, name in zip(made.entries, names, strict=True):
                entry = schema.fileset_entries
                conn.execute(entry.update().values(name=name).where(entry.c.original_id == file.original_id))
        return made.images[0][0]

    def rename(self, table: str, number: int, name: str) -> None:
        with self.catalogue.begin() as conn:
            container = schema.metadata.tables[table]
            conn.execute(container.update().values(name=name).where(container.c.id == number))

    @property
    def own(self) -> Node:
        return self.w.seen(self.w.tree.lookup(self.w.table.root, b".repofs")[0])

    async def find(self, path: str, uid: int = OWNER) -> ViewNode:
        top, *below = path.split("/")
        found = self.tree.top(self.own, os.fsencode(top), uid)
        assert found is not None
        node = found[0]
        node.lookups += 1
        for name in below:
            node, _ = await self.tree.lookup(node, os.fsencode(name), by(uid))
            node.lookups += 1
        return node

    async def names(self, path: str, uid: int = OWNER) -> list[str]:
        """Return what a whole reading of a directory gives."""
        listing = self.tree.listing(await self.find(path, uid), by(uid))
        found, start = [], 0
        while some := await listing.after(start):
            assert [number for number, *_ in some] == sorted({number for number, *_ in some})
            found += [os.fsdecode(name) for _, name, _, _ in some]
            start = some[-1][0]
        assert found[:2] == [".", ".."]
        return found[2:]

    async def target(self, path: str, uid: int = OWNER) -> str:
        return os.fsdecode(await self.tree.readlink(await self.find(path, uid), by(uid)))


@pytest.fixture
async def v(tmp_path: Path) -> AsyncIterator[Views]:
    engine.create(tmp_path / "catalogue.sqlite")
    catalogue = engine.open_engine(tmp_path / "catalogue.sqlite")
    with world(tmp_path) as w:
        await w.rights.adopt(people())
        yield Views(w, catalogue)
    catalogue.dispose()


# --- names --------------------------------------------------------------------------------------------------


async def test_each_target_is_a_directory_of_links(v: Views) -> None:
    made = v.bring(b"P/D/a.tif", b"E/b.tif", b"c.tif")
    assert await v.names("by-target") == ["Orphans", "P", "E"]
    assert await v.names("by-target/P") == ["D"]
    for path, one in zip(("P/D/a.tif", "E/b.tif", "Orphans/c.tif"), made, strict=True):
        link = f"by-target/{path}"
        assert await v.names(os.path.dirname(link)) == [os.path.basename(link)]
        below = os.fsdecode(b"/".join((one.user_directory, one.import_directory)))
        assert await v.target(link) == "../" * link.count("/") + "../" + below + "/" + os.path.basename(link)
        image = f"images/{one.images[0][0]}"
        assert await v.target(f"{image}/{os.path.basename(link)}") == f"../../../{below}/{os.path.basename(link)}"


async def test_what_has_the_name_of_another_bears_its_id(v: Views) -> None:
    first, second, third = v.bring(b"P/D/scan.ome.tif", b"P/D/deep/scan.ome.tif", b"P/D/deep/er/scan.ome.tif")
    images = [one.images[0][0] for one in (first, second, third)]
    names = ["scan.ome.tif", *(f"scan (Image:{number}).ome.tif" for number in images[1:])]
    assert await v.names("by-target/P/D") == names
    targets = [await v.target(f"by-target/P/D/{name}") for name in names]
    assert [os.path.basename(one) for one in targets] == ["scan.ome.tif"] * 3
    assert len(set(targets)) == 3


async def test_projects_and_datasets_of_one_name(v: Views) -> None:
    v.bring(b"P/D/a.tif", b"P/E/b.tif", b"P/b.tif", b"Orphans/c.tif", more=[Import(v.lab.bob, (b"P/D/b.tif",))])
    v.rename("datasets", 2, "D")
    assert await v.names("by-target") == [
        "Orphans", "P", "P (Project:2)", "P (Dataset:3)", "Orphans (Dataset:4)",
    ]  # fmt: skip
    assert await v.names("by-target/P") == ["D", "D (Dataset:2)"]
    assert await v.names("by-target/P (Dataset:3)") == ["b.tif"]
    assert await v.names("by-target/Orphans (Dataset:4)") == ["c.tif"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a/b", "a_b"),
        ("a\n\x1b[31mb\x7f\x9b", "a__[31mb__"),
        ("", "_"),
        (".", "_"),
        ("..", "_"),
        ("Zürich 2026.11", "Zürich 2026.11"),
        ("é" * 300, "é" * 127),
        ("x" * 300, "x" * 255),
    ],
)
async def test_any_name_of_a_project_is_one_of_a_directory(v: Views, name: str, shown: str) -> None:
    v.bring(b"P/D/a.tif")
    v.rename("projects", 1, name)
    assert await v.names("by-target") == ["Orphans", shown]
    assert await v.names(f"by-target/{shown}/D") == ["a.tif"]


async def test_a_long_name_is_cut_for_what_makes_it_unique(v: Views) -> None:
    long = b"x" * 251 + b".tif"
    v.bring(b"P/D/" + long, b"P/D/deep/" + long)
    names = await v.names("by-target/P/D")
    assert names[0] == long.decode()
    assert names[1].endswith("x (Image:2).tif")
    assert [len(name) for name in names] == [255, 255]


async def test_a_name_that_looks_like_a_unique_one_is_another(v: Views) -> None:
    v.bring(b"P/D/a.tif", b"P/D/a (Image:3).tif", b"P/D/deep/a.tif")
    assert await v.names("by-target/P/D") == ["a.tif", "a (Image:3).tif", "a (Image:3, 2).tif"]


async def test_names_that_are_no_text(v: Views) -> None:
    v.bring(b"P/D/\xff\xe9.tif", b"P/D/deep/\xff\xe9.tif")
    assert await v.names("by-target/P/D") == ["\udcff\udce9.tif", "\udcff\udce9 (Image:2).tif"]
    assert (await v.target("by-target/P/D/\udcff\udce9.tif")).endswith("/\udcff\udce9.tif")


async def test_a_fileset_is_all_of_its_files_and_a_directory_one_link(v: Views) -> None:
    v.bring(b"D/a.nd")
    stk = v.together(b"a.nd", b"a_1.stk", b"a_2.stk")
    zarr = v.together(b"x.zarr/0/0", b"x.zarr/zarr.json")
    assert await v.names("by-target/D") == ["a.nd", f"a (Image:{stk}).nd", "a_1.stk", "a_2.stk", "x.zarr"]
    assert await v.names(f"images/{zarr}") == ["x.zarr"]
    assert await v.names(f"images/{stk}") == ["a.nd", "a_1.stk", "a_2.stk"]


async def test_a_fileset_of_many_images_is_linked_once(v: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE", 3)
    first = v.together(b"a.lif", images=8)
    assert await v.names("by-target/D") == ["a.lif"]
    assert await v.names("images") == [str(first + number) for number in range(8)]


# --- pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 3, 100])
async def test_long_directories_come_in_pages(v: Views, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(views, "PAGE", at_once + 1)
    monkeypatch.setattr(view_listing, "_MADE_AT_ONCE", at_once + 1)
    monkeypatch.setattr(view_listing, "_GIVEN_AT_ONCE", at_once)
    v.bring(*(b"P/D/%03d.tif" % number for number in range(20)))
    assert await v.names("by-target/P/D") == [f"{number:03}.tif" for number in range(20)]
    assert await v.names("images") == [str(number) for number in range(1, 21)]


async def test_a_reading_goes_on_anywhere_and_begins_again(v: Views) -> None:
    v.bring(*(b"P/D/%d.tif" % number for number in range(5)))
    for path in ("by-target/P/D", "images"):
        listing = v.tree.listing(await v.find(path), by(OWNER))
        assert len(await listing.after(4)) == 3
        everything = await listing.after(2)
        assert len(everything) == 5
        assert await listing.after(everything[-1][0]) == ()
        assert [name for _, name, _, _ in await listing.after(0)] == [b".", b".."]
        assert await listing.after(2) == everything


async def test_a_dataset_is_asked_for_once_a_moment(v: Views, autojump_clock: trio.abc.Clock) -> None:
    v.bring(b"P/D/a.tif", b"P/D/b.tif")
    await v.find("by-target/P/D/a.tif")
    asked = len(v.asked)
    await v.find("by-target/P/D/b.tif")
    assert len(v.asked) == asked
    v.bring(b"P/D/c.tif")
    await trio.sleep(3)
    await v.find("by-target/P/D/c.tif")
    assert len(v.asked) > asked


async def test_few_answers_are_kept(v: Views) -> None:
    v.bring(*(b"P/D%d/a.tif" % number for number in range(40)))
    for number in range(40):
        await v.find(f"by-target/P/D{number}/a.tif")
    asked = len(v.asked)
    await v.find("by-target/P/D39/a.tif")
    assert len(v.asked) == asked
    await v.find("by-target/P/D0/a.tif")
    assert len(v.asked) > asked


async def test_nodes_are_kept_as_long_as_somebody_refers_to_them(v: Views) -> None:
    v.bring(b"P/D/a.tif")
    node = await v.find("by-target/P/D/a.tif")
    assert await v.find("by-target/P/D/a.tif") is node
    assert stat.S_ISLNK(node.format)
    v.tree.nodes.forget(node.ino, 2)
    with pytest.raises(OSError) as error:
        v.tree.nodes.get(node.ino)
    assert error.value.errno == errno.ESTALE


# --- who finds what -----------------------------------------------------------------------------------------


async def test_only_who_may_view_finds_it(v: Views) -> None:
    v.bring(b"P/D/a.tif", more=[Import(v.lab.bob, (b"Q/E/b.tif",))])
    assert await v.names("by-target", MEMBER) == ["Orphans", "P", "Q"]
    await v.w.rights.adopt(people(PermissionLevel.PRIVATE))
    assert await v.names("by-target", MEMBER) == ["Orphans", "Q"]
    assert await v.names("by-target", OWNER) == ["Orphans", "P"]
    assert await v.names("by-target", 0) == ["Orphans", "P", "Q"]
    assert await v.names("images", OWNER) == ["1"]
    for path in ("by-target/P", "by-target/P/D/a.tif", "images/1"):
        with pytest.raises(NotFound):
            await v.find(path, MEMBER)


async def test_who_may_view_no_more_is_refused_what_she_has_found(v: Views) -> None:
    v.bring(b"P/D/a.tif", b"P/D/b.tif")
    link, dataset = await v.find("by-target/P/D/a.tif", MEMBER), await v.find("by-target/P/D", MEMBER)
    top = v.tree.listing(await v.find("images", MEMBER), by(MEMBER))
    listing = v.tree.listing(dataset, by(MEMBER))
    assert len(await listing.after(2)) == len(await top.after(2)) == 2
    await v.w.rights.adopt(people(PermissionLevel.PRIVATE))
    assert await top.after(2) == ()  # of what had been found already, too
    for attempt in (
        listing.after(3),
        v.tree.readlink(link, by(MEMBER)),
        v.tree.lookup(dataset, b"b.tif", by(MEMBER)),
    ):
        with pytest.raises(AccessDenied):
            await attempt
    with pytest.raises(AccessDenied):
        v.tree.listing(dataset, by(MEMBER))
    assert len(await v.names("by-target/P/D")) == 2


async def test_strangers_find_nothing(v: Views) -> None:
    v.bring(b"P/D/a.tif")
    assert list(v.tree.names_in(v.own, OWNER)) == [b"by-target", b"images", b"thumbnails"]
    assert not v.tree.names_in(v.own, STRANGER)
    assert not v.tree.names_in(v.w.node(""), OWNER)
    for name in (b"by-target", b"images", b"thumbnails"):
        with pytest.raises(AccessDenied):
            v.tree.top(v.own, name, STRANGER)
        assert v.tree.top(v.w.node(""), name, OWNER) is None
    assert v.tree.top(v.own, b"events", OWNER) is None
    images = await v.find("images")
    with pytest.raises(AccessDenied):
        await v.tree.lookup(images, b"1", by(STRANGER))


async def test_it_is_shown_as_its_owners_with_an_acl(v: Views) -> None:
    v.bring(b"P/D/a.tif")
    node = await v.find("images/1")
    status = await v.tree.status(node, by(OWNER))
    assert (status.st_uid, status.st_gid, stat.filemode(status.st_mode)) == (OWNER, LAB, "dr-xr-x---")
    assert MEMBER.to_bytes(4, "little") in await v.tree.acl(node, by(OWNER))
    link = await v.find("images/1/a.tif")
    status = await v.tree.status(link, by(OWNER))
    assert (status.st_uid, stat.filemode(status.st_mode)) == (OWNER, "lrwxrwxrwx")
    assert status.st_size == len(await v.target("images/1/a.tif"))
    for without in (link, await v.find("images")):
        with pytest.raises(OSError) as error:
            await v.tree.acl(without, by(OWNER))
        assert error.value.errno == errno.ENODATA


async def test_without_a_catalogue_it_is_busy(v: Views) -> None:
    v.bring(b"P/D/a.tif")
    images = await v.find("images")
    v.is_away = True
    for attempt in (v.tree.lookup(images, b"1", by(OWNER)), v.tree.listing(images, by(OWNER)).after(2)):
        with pytest.raises(Busy):
            await attempt


# --- thumbnails ---------------------------------------------------------------------------------------------


async def test_thumbnails_are_there_once_they_are_made(v: Views, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "PAGE", 2)
    v.bring(*(b"P/D/%d.tif" % number for number in range(7)))
    for number in (1, 6):  # whole pages between them have none
        v.w.layout.thumbnail(number).parent.mkdir(parents=True, exist_ok=True)
        v.w.layout.thumbnail(number).write_bytes(b"PNG" * number)
    assert await v.names("thumbnails") == ["Image-1.png", "Image-6.png"]
    node = await v.find("thumbnails/Image-6.png", MEMBER)
    status = await v.tree.status(node, by(MEMBER))
    assert (stat.filemode(status.st_mode), status.st_size) == ("-r--r-----", 18)
    fd = await v.tree.open(node, os.O_RDONLY, by(MEMBER))
    try:
        assert os.read(fd, 100) == b"PNG" * 6
    finally:
        os.close(fd)
    with pytest.raises(OSError) as error:
        await v.tree.open(node, os.O_RDWR, by(OWNER))
    assert error.value.errno == errno.EROFS
    await v.w.rights.adopt(people(PermissionLevel.PRIVATE))
    with pytest.raises(AccessDenied):
        await v.tree.open(node, os.O_RDONLY, by(MEMBER))
    v.w.layout.thumbnail(6).unlink()
    with pytest.raises(FileNotFoundError):
        await v.tree.status(node, by(OWNER))
    with pytest.raises(FileNotFoundError):
        await v.tree.open(node, os.O_RDONLY, by(OWNER))


@pytest.mark.parametrize("name", ["Image-2.png", "Image-01.png", "Image-1.PNG", "1.png", "Image-.png", "Image-1.png\n"])
async def test_other_names_are_no_thumbnails(v: Views, name: str) -> None:
    v.bring(b"P/D/a.tif")
    v.w.layout.thumbnail(1).parent.mkdir(parents=True, exist_ok=True)
    v.w.layout.thumbnail(1).write_bytes(b"PNG")
    assert await v.find("thumbnails/Image-1.png")
    with pytest.raises((NotFound, FileNotFoundError)):
        await v.find(f"thumbnails/{name}")
