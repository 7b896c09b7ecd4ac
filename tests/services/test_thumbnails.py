"""Thumbnails: made in the background of what was imported, each image looked at once, whatever comes of it."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from sqlalchemy import select

from repofs import config
from repofs.catalog import ids, trash
from repofs.catalog.engine import open_engine
from repofs.catalog.filesets import record
from repofs.catalog.objects import describe
from repofs.catalog.schema import images
from repofs.catalog.users import experimenters
from repofs.errors import ReaderFailed
from repofs.image import Appearance, Channel, ImageInfo, Picture
from repofs.importer import thumbnails
from repofs.importer.bringing import Bringing
from repofs.importer.commits import Commits
from repofs.importer.thumbnails import Thumbnails
from repofs.model import ObjectRef, Origin, Skip, Transfer
from repofs.repository import stand_ins
from repofs.repository.outside import identity_of
from repofs.repository.sources import Sources
from repofs.repository.trees import opened
from repofs.threads import in_thread
from tests.helpers.catalogue import IMAGE, Import, finished
from tests.helpers.importing import FakeReaders, Repository
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

PNG = b"\x89PNG of two channels"
PICTURE = Picture(PNG, ((0.0, 4095.0), (2.0, float("inf"))))
EVERYTHING = (Skip.THUMBNAILS, Skip.MINMAX)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(thumbnails, "GATHER_SECONDS", 0.01)
    return Repository.make(tmp_path / "repository")


def imported(
    repository: Repository,
    name: str = "scan.tif",
    found: tuple[ImageInfo, ...] = (IMAGE,),
    skipped: tuple[Skip, ...] = (),
    main: bytes | None = None,
    owner: int = 0,
) -> list[int]:
    """Import a file *name* that holds its own name; return the images."""
    with repository.engine.begin() as conn:
        ended = replace(
            finished(conn, Import(experimenters(conn)[owner], [name.encode()], found)), skipped=skipped, main=main
        )
        record(conn, [ended])
    directory = repository.layout.managed / os.fsdecode(ended.user_directory) / os.fsdecode(ended.import_directory)
    directory.mkdir(parents=True)
    (directory / name).write_text(name)
    return [number for number, _ in ended.images]


@asynccontextmanager
async def running(
    repository: Repository,
    readers: FakeReaders,
    idle: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint,
    source: Path = Path("/nowhere"),
) -> AsyncIterator[Commits]:
    commits = Commits(repository.engine)
    reading = open_engine(repository.layout.catalogue, read_only=True)
    sources = Sources((config.Source(name="scope1", path=source),), repository.layout.root)
    bringing = Bringing(repository.marks, sources, os.fspath(repository.layout.linked))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.run)
            nursery.start_soon(Thumbnails(repository.layout, commits, reading, readers, bringing, idle).run)
            yield commits
            nursery.cancel_scope.cancel()
    reading.dispose()


def words(repository: Repository) -> list[str | None]:
    with repository.engine.begin() as conn:
        return list(conn.execute(select(images.c.thumbnail).order_by(images.c.id)).scalars())


async def all_looked_at(repository: Repository) -> list[str | None]:
    await in_thread(until, lambda: None not in words(repository), "a look at each image")
    return words(repository)


def known(repository: Repository, image: int) -> dict[str, object]:
    with repository.engine.begin() as conn:
        return describe(conn, ObjectRef("Image", image))


async def test_an_image_gets_its_thumbnail_and_the_range_of_each_channel(repository: Repository) -> None:
    readers = FakeReaders()
    readers.pictures["scan.tif"] = PICTURE
    described = replace(IMAGE, channels=(Channel("DAPI"),), objective="63x", magnification=63.0, numerical_aperture=1.4)
    [image] = imported(repository, found=(described,))
    async with running(repository, readers):
        assert await all_looked_at(repository) == ["made"]
    path = repository.layout.thumbnail(image)
    assert path.read_bytes() == PNG
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(repository.layout.thumbnails.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    told = known(repository, image)
    assert told["thumbnail"] == "made"
    assert told["channels"] == [{"name": "DAPI", "min": 0.0, "max": 4095.0}, {"min": 2.0}]
    assert (told["objective"], told["magnification"], told["numerical_aperture"]) == ("63x", 63.0, 1.4)
    assert readers.painted == [("scan.tif", 0, b"scan.tif")]


async def test_what_is_imported_while_it_runs_is_seen(repository: Repository) -> None:
    readers = FakeReaders()
    readers.pictures["later.tif"] = PICTURE
    async with running(repository, readers) as commits:
        await trio.sleep(0.05)
        imported(repository, "later.tif", (IMAGE, replace(IMAGE, series=1)))
        await commits.write(lambda conn, items: ids.reserve(conn, "Image", 1), None)  # as the import's own commit
        assert await all_looked_at(repository) == ["made", "made"]
    assert [series for _, series, _ in readers.painted] == [0, 1]


async def test_what_fails_is_recorded_logged_and_not_tried_again(
    repository: Repository, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    readers = FakeReaders()
    readers.pictures |= {
        "a.tif": ReaderFailed("the reader hung"),
        "b.tif": OSError(errno.EIO, "the disk hung"),
        "c.tif": ZeroDivisionError("a fault of ours"),
        "d.tif": PICTURE,
    }
    for name in "abcd":
        imported(repository, f"{name}.tif")
    async with running(repository, readers):
        assert await all_looked_at(repository) == ["failed", "failed", "failed", "made"]
    async with running(repository, readers) as commits:
        await commits.write(lambda conn, items: ids.reserve(conn, "Image", 1), None)
        await trio.sleep(0.1)
    assert [name for name, *_ in readers.painted] == ["a.tif", "b.tif", "c.tif", "d.tif"]
    said = capsys.readouterr().out + caplog.text
    assert [said.count(word) for word in ("the reader hung", "the disk hung", "ZeroDivisionError")] == [1, 1, 2]


async def test_of_an_image_that_is_deleted_meanwhile_no_picture_is_left(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    [image] = imported(repository)
    asked, deleted = trio.Event(), trio.Event()
    written: list[bool] = []  # a look at the disk might come too late: it is there for a moment
    monkeypatch.setattr(thumbnails, "passed", lambda _: written.append(repository.layout.thumbnail(image).exists()))

    class Slow(FakeReaders):
        async def picture(self, *arguments: Any) -> Picture:
            asked.set()
            await deleted.wait()
            return PICTURE

    async with running(repository, Slow()):
        await asked.wait()
        with repository.engine.begin() as conn:
            [fileset] = conn.execute(select(images.c.fileset_id)).scalars()
            trash.discard(conn, fileset, 5000, [], 0)
        deleted.set()
        await in_thread(until, lambda: written, "the picture is written")
        await in_thread(until, lambda: not repository.layout.thumbnail(image).exists(), "it is removed")
    assert written == [True]


@pytest.mark.parametrize(
    ("skipped", "word", "painted", "ranges"),
    [
        ((Skip.THUMBNAILS,), "skipped", True, True),
        ((Skip.MINMAX,), "made", True, False),
        (EVERYTHING, "skipped", False, False),
        ((Skip.CHECKSUM,), "made", True, True),
    ],
)
async def test_what_is_to_be_skipped_is_skipped_and_says_so(
    repository: Repository, skipped: tuple[Skip, ...], word: str, painted: bool, ranges: bool
) -> None:
    readers = FakeReaders()
    readers.pictures["scan.tif"] = PICTURE
    [image] = imported(repository, skipped=skipped)
    async with running(repository, readers):
        assert await all_looked_at(repository) == [word]
        await trio.sleep(0.05)
    assert bool(readers.painted) is painted
    assert repository.layout.thumbnail(image).exists() is (word == "made")
    told = known(repository, image)
    assert bool(told["channels"]) is ranges
    assert told["skipped"] == ",".join(skipped)


async def test_thumbnails_that_were_removed_are_made_anew(repository: Repository) -> None:
    readers = FakeReaders()
    readers.pictures |= {"a.tif": PICTURE, "b.tif": ReaderFailed("not yet"), "c.tif": PICTURE}
    made, failed = (imported(repository, name)[0] for name in ("a.tif", "b.tif"))
    imported(repository, "c.tif", skipped=EVERYTHING)
    async with running(repository, readers) as commits:
        assert await all_looked_at(repository) == ["made", "failed", "skipped"]
        readers.pictures["b.tif"] = PICTURE
        shutil.rmtree(repository.layout.thumbnails)
        await commits.write(lambda conn, items: ids.reserve(conn, "Image", 1), None)  # any commit
        await in_thread(until, repository.layout.thumbnail(failed).exists, "a new directory")
        assert await all_looked_at(repository) == ["made", "made", "skipped"]
    assert repository.layout.thumbnail(made).read_bytes() == PNG


async def test_imports_go_first_but_a_picture_is_made_in_the_end(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "PATIENCE_SECONDS", 0.3)
    readers = FakeReaders()
    readers.pictures["scan.tif"] = PICTURE
    imported(repository)
    began = trio.current_time()
    async with running(repository, readers, trio.sleep_forever):
        assert await all_looked_at(repository) == ["made"]
    assert trio.current_time() - began >= 0.3


async def test_pictures_that_take_long_wait_for_those_of_others(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fileset of a thousand images may hang its reader a thousand times."""
    monkeypatch.setattr(thumbnails, "SLOW_SECONDS", 0.2)

    class Slow(FakeReaders):
        async def picture(self, name: bytes, files: Any, series: int, appearance: Appearance, user: bytes) -> Picture:
            await trio.sleep(0.3 if name.startswith(b"slow") else 0)
            return await super().picture(name, files, series, appearance, user)

    readers = Slow()
    readers.pictures.update({"slow.tif": PICTURE, "scan.tif": PICTURE})
    imported(repository, "slow.tif", (IMAGE,) * 3)
    imported(repository, owner=1)
    async with running(repository, readers):
        await all_looked_at(repository)
    assert [name for name, *_ in readers.painted] == ["slow.tif", "scan.tif", "slow.tif", "slow.tif"]


async def test_a_fileset_is_read_by_its_main_file_and_nothing_beside_it_is_lent(repository: Repository) -> None:
    asked: dict[str, object] = {}

    class Curious(FakeReaders):
        async def picture(self, name: bytes, files: Any, series: int, appearance: Appearance, user: bytes) -> Picture:
            for path in (b"../" + b"x", b"/etc/passwd"):
                try:
                    asked[path.decode()] = files.open(path)
                except OSError as error:
                    asked[path.decode()] = error.errno
            asked["names"] = files.names(b"")
            return await super().picture(name, files, series, appearance, user)

    readers = Curious()
    readers.pictures["stack.zarr/"] = PICTURE
    imported(repository, "c.0", main=b"stack.zarr/")
    async with running(repository, readers):
        assert await all_looked_at(repository) == ["made"]
    assert asked == {"../x": errno.EXDEV, "/etc/passwd": errno.EXDEV, "names": [b"c.0"]}


@pytest.mark.parametrize(("there", "word", "content"), [(True, "made", [b"outside"]), (False, "failed", [])])
async def test_an_original_in_place_is_read_where_its_bytes_are(
    repository: Repository, tmp_path: Path, there: bool, word: str, content: list[bytes]
) -> None:
    readers = FakeReaders()
    readers.pictures["scan.tif"] = PICTURE
    source = tmp_path / "scope1" / "scan.tif"
    source.parent.mkdir()
    source.write_bytes(b"outside")
    imported(repository)
    [linked] = repository.layout.managed.rglob("*/scan.tif")
    linked.unlink()
    stand_for(repository, source, linked)
    if not there:
        source.unlink()
    async with running(repository, readers, source=source.parent):
        assert await all_looked_at(repository) == [word]
    assert [read for *_, read in readers.painted] == content


def stand_for(repository: Repository, source: Path, path: Path) -> None:
    with opened(path.parent) as directory, open(source, "rb") as file:
        origin = Origin("scope1", source.name, identity_of(file.fileno()), Transfer.LN_S)
        who = {"uid": os.getuid(), "gid": os.getgid(), "actor_uid": os.getuid()}
        stand_ins.make(directory, os.fsencode(path.name), origin, **who, marks=repository.marks)


async def test_a_fault_of_the_catalogue_ends_nothing(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thumbnails, "PAUSE_SECONDS", 0.05)
    readers = FakeReaders()
    readers.pictures["scan.tif"] = PICTURE
    imported(repository)
    write, refused = Commits.write, iter([True])

    async def write_at_the_second_time(self: Commits, act: Any, item: Any) -> Any:
        if item is not None and next(refused, False):
            raise OSError(errno.EIO, "the catalogue hung")
        return await write(self, act, item)

    monkeypatch.setattr(Commits, "write", write_at_the_second_time)
    async with running(repository, readers):
        assert await all_looked_at(repository) == ["made"]
    assert capsys.readouterr().out.count("thumbnails cannot be made now") == 1
