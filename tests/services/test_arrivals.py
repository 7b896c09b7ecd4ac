"""Arrivals: from a place outside to an original, or to nothing at all, the source still there."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from repofs import config
from repofs.catalog import arrivals as queue
from repofs.catalog.engine import open_engine
from repofs.catalog.objects import describe
from repofs.errors import AccessDenied
from repofs.importer import bringing, preparing, removal
from repofs.importer.arrivals import Arrivals
from repofs.importer.bringing import Bringing
from repofs.importer.commits import Commits
from repofs.importer.gathering import Gathering
from repofs.importer.job import Deaths
from repofs.importer.pipeline import Pipeline
from repofs.importer.preparing import Preparing
from repofs.importer.waiting_room import WaitingRoom
from repofs.lifecycle import State
from repofs.model import Arrival, Exclusion, ObjectRef, Origin, Original, Skip
from repofs.people import Home, People
from repofs.quotas import Held
from repofs.repository import stand_ins
from repofs.repository.outside import identity_of
from repofs.repository.sources import Sources
from tests.helpers.importing import FakeCounts, FakeReaders, Repository
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

ME = os.getuid()
REMOVES = ["upload_rm", "cp_rm", "ln_rm"]


@dataclass
class Hall:
    """Where arrivals come in, and what they are to be."""

    repository: Repository
    source: Path
    taking: Arrivals
    waiting_room: WaitingRoom
    readers: FakeReaders

    def arrival(self, name: str = "scan.tif", **more: object) -> Arrival:
        usual = Arrival(
            self.repository.alice, "scope1", name.encode(), (self.source / name).is_dir(), "upload", ME, "me",
            os.getgid(),
        )  # fmt: skip
        return replace(usual, **more)  # type: ignore[arg-type]

    def check_empty(self) -> None:
        """Nothing of any arrival is left in the repository."""
        layout = self.repository.layout
        assert [os.listdir(place) for place in (layout.arriving, layout.linked, layout.staging)] == [[], [], []]
        assert self.repository.originals() == []


@asynccontextmanager
async def hall(repository: Repository, source: Path, counts: FakeCounts | None = None) -> AsyncIterator[Hall]:
    settings = config.Settings(sources=(config.Source(name="scope1", path=source),))
    sources = Sources(settings.sources, repository.layout.root)
    home = Home(ME, os.getgid(), frozenset([os.getgid()]))
    people = People(homes={repository.alice: home, repository.bob: home})
    commits = Commits(repository.engine)
    reading = open_engine(repository.layout.catalogue, read_only=True)
    readers = FakeReaders()
    pipeline = Pipeline(repository.layout, settings, commits, readers, {}, lambda: people, counts or FakeCounts())
    gathering = Gathering(sources, readers, reading, settings.drops)
    ready = Preparing(repository.layout, sources, reading, lambda: people)
    taking = Arrivals(pipeline, ready, gathering, lambda: people)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        nursery.start_soon(pipeline.run)
        yield Hall(repository, source, taking, WaitingRoom(taking, commits, reading), readers)
        nursery.cancel_scope.cancel()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "scope1"
    directory.mkdir()
    (directory / "scan.tif").write_bytes(b"pixels")
    return directory


async def test_an_arrival_appears_in_its_import_directory_only(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        arrived = await h.taking.take(h.arrival(checksum_algorithm="File-Size-64"))
    assert arrived.state is State.IMPORTED and arrived.import_directory is not None
    file = repository.layout.managed / arrived.import_directory / "scan.tif"
    assert (file.read_bytes(), file.stat().st_nlink) == (b"pixels", 1)
    mark = repository.mark(file)
    assert isinstance(mark, Original)
    assert (arrived.originals, arrived.checksum, arrived.size) == ((mark.original,), mark.checksum, 6)
    assert mark.checksum.startswith("File-Size-64:")
    assert os.listdir(repository.layout.arriving) == []


@pytest.mark.parametrize(
    ("skip", "hashed", "told"), [((), 2, None), ((Skip.CHECKSUM, Skip.MINMAX), 1, "minmax,checksum")]
)
async def test_what_is_skipped_is_not_done_and_recorded(
    repository: Repository,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip: tuple[Skip, ...],
    hashed: int,
    told: str,
) -> None:
    calls: list[int] = []
    checksum = bringing.checksum
    monkeypatch.setattr(bringing, "checksum", lambda fd, algorithm: (calls.append(fd), checksum(fd, algorithm))[1])
    async with hall(repository, source) as h:
        arrived = await h.taking.take(h.arrival(skip=skip))
    assert len(calls) == hashed
    assert arrived.fileset is not None
    with repository.engine.begin() as conn:
        assert describe(conn, ObjectRef("Fileset", arrived.fileset))["skipped"] == told


@pytest.mark.parametrize("transfer", REMOVES)
@pytest.mark.parametrize("exclusion", list(Exclusion))
async def test_what_is_excluded_is_a_duplicate_and_stays(
    repository: Repository, source: Path, transfer: str, exclusion: Exclusion
) -> None:
    async with hall(repository, source) as h:
        first = await h.taking.take(h.arrival())
        if exclusion is not Exclusion.CONTENT:
            (source / "scan.tif").write_bytes(b"others")
        excluded = await h.taking.take(h.arrival(transfer=transfer, exclude=(exclusion,)))
        assert excluded.state is State.DUPLICATE and f"Fileset:{first.fileset}" in str(excluded.error)
        assert (source / "scan.tif").exists()
        bobs = await h.taking.take(h.arrival(user_directory=repository.bob, exclude=(exclusion,)))
        assert bobs.state is State.IMPORTED


async def test_the_same_file_arrives_once_at_a_time(repository: Repository, source: Path) -> None:
    states = []
    async with hall(repository, source) as h:

        async def take() -> None:
            states.append((await h.taking.take(h.arrival())).state)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(take)
    assert sorted(states) == [*[State.DUPLICATE] * 4, State.IMPORTED]


async def test_a_source_that_is_open_for_writing_settles(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        writer = os.open(source / "scan.tif", os.O_WRONLY)
        arrived = await h.taking.take(h.arrival(transfer="upload_rm"))
        os.close(writer)
        assert arrived.state is State.SETTLING and "open for writing" in str(arrived.error)
        h.check_empty()
        assert (await h.taking.take(h.arrival())).state is State.IMPORTED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"path": b"nowhere.tif"}, "is not there"),
        ({"path": b"."}, "declare the directory above"),
        ({"path": b"../scan.tif"}, "without .."),
        ({"path": b"link.tif"}, "symbolic link"),
        ({"path": b"fifo"}, "FIFO"),
        ({"is_directory": True}, "is a file"),
        ({"path": b"empty.zarr", "is_directory": True}, "there is no file in"),
        ({"source": "nowhere"}, "no declared source"),
        ({"transfer": "mv"}, "no transfer"),
        ({"target": "Dataset:99"}, "there is no Dataset:99"),
        ({"user_directory": b"eve_9"}, "directory of no experimenter"),
    ],
)
async def test_what_cannot_be_imported_fails_with_its_reason(
    repository: Repository, source: Path, change: dict[str, object], reason: str
) -> None:
    (source / "link.tif").symlink_to("scan.tif")
    (source / "empty.zarr").mkdir()
    os.mkfifo(source / "fifo")
    async with hall(repository, source) as h:
        arrived = await h.taking.take(h.arrival(**change))
        assert arrived.state is State.FAILED and reason in str(arrived.error)
        h.check_empty()


async def test_what_cannot_even_be_opened_is_news_as_any_import_that_failed(
    repository: Repository, source: Path
) -> None:
    async with hall(repository, source) as h:
        arrived = await h.taking.take(h.arrival("nothing.tif"))
        await h.taking.refuse(h.arrival("closed"), "uid 5000 may not read it: ask its owner")
    first, second = repository.row(1), repository.row(2)
    assert (first.state, first.error) == (State.FAILED, arrived.error) and "not there" in str(arrived.error)
    assert (second.state, second.error) == (State.FAILED, "uid 5000 may not read it: ask its owner")
    assert (first.intent.source, second.intent.source) == (b"scope1/nothing.tif", b"scope1/closed")
    log = repository.layout.managed / str(arrived.log)
    assert "not there" in log.read_text()
    h.check_empty()


@pytest.mark.parametrize("name", ["scan.tif", "set.zarr"])
async def test_what_killed_the_importer_three_times_fails(repository: Repository, source: Path, name: str) -> None:
    """Its stand-in is another at each try: the source tells that it is the same file."""
    (source / "set.zarr").mkdir()
    (source / "set.zarr/0").write_bytes(b"pixels")
    status = (source / "set.zarr/0" if name == "set.zarr" else source / name).stat()
    async with hall(repository, source) as h:
        h.taking._pipeline._interrupted[status.st_dev, status.st_ino] = Deaths(3, alone=True)
        arrived = await h.taking.take(h.arrival(name))
        assert arrived.state is State.FAILED and "died 3 times" in str(arrived.error)
        h.check_empty()


async def test_a_fault_of_ours_fails_one_arrival(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hall(repository, source) as h:
        with monkeypatch.context() as broken:
            broken.setattr(stand_ins, "make", lambda *args, **more: 1 / 0)
            arrived = await h.taking.take(h.arrival())
        assert arrived.state is State.FAILED and "ZeroDivisionError" in str(arrived.error)
        h.check_empty()
        assert (await h.taking.take(h.arrival())).state is State.IMPORTED


async def test_a_directory_tree_of_any_depth_arrives_whole(repository: Repository, source: Path) -> None:
    top = source / "deep.zarr"
    names = [f"{'d/' * depth}chunk" for depth in (0, 1, 200)]
    for name in names:
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name[-8:].encode())
    async with hall(repository, source) as h:
        arrived = await h.taking.take(h.arrival("deep.zarr", transfer="ln"))
    assert len(arrived.originals) == 3
    for name in names:
        assert (repository.layout.managed / str(arrived.import_directory) / "deep.zarr" / name).is_file()


# --- what an importer that died has left ----------------------------------------------------------------


async def test_what_was_arriving_is_cleared_away_with_its_hard_link(repository: Repository, source: Path) -> None:
    place = repository.layout.arriving / "7" / "plate.zarr"
    place.mkdir(parents=True)
    fd, directory = os.open(source / "scan.tif", os.O_RDONLY), os.open(place, os.O_RDONLY)
    origin = Origin("scope1", "scan.tif", identity_of(fd), "ln")
    stand_ins.make(directory, b"0", origin, uid=ME, gid=os.getgid(), actor_uid=ME, marks=repository.marks)
    sources = Sources((config.Source(name="scope1", path=source),), repository.layout.root)
    mending = Bringing(repository.marks, sources, os.fspath(repository.layout.linked))
    stand_in = os.open(place / "0", os.O_RDONLY)
    mending.bring(stand_in, "SHA1-160")
    for one in (fd, directory, stand_in):
        os.close(one)
    assert len(os.listdir(repository.layout.linked)) == 1
    preparing.clear(repository.layout, mending)
    assert os.listdir(repository.layout.arriving) == os.listdir(repository.layout.linked) == []
    assert (source / "scan.tif").read_bytes() == b"pixels"
    preparing.clear(repository.layout, mending)  # it may run twice


async def test_what_is_queued_is_seen_to_by_the_next_life(repository: Repository, source: Path) -> None:
    (source / "other.tif").write_bytes(b"others")
    async with hall(repository, source) as h:
        queued = [await h.waiting_room.queue(h.arrival(name)) for name in ("scan.tif", "other.tif", "scan.tif")]
        await h.waiting_room.queue(h.arrival(path=b"nowhere.tif"))
    assert [one.id for one in waiting(repository)] == [*queued, queued[-1] + 1]
    assert waiting(repository)[0].arrival == h.arrival()
    async with hall(repository, source) as h:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(h.waiting_room.run)
            await trio.to_thread.run_sync(until, lambda: not waiting(repository), "all are seen to")
            nursery.cancel_scope.cancel()
    assert len(repository.originals()) == 2
    with repository.engine.begin() as conn:
        states = [row[0] for row in conn.exec_driver_sql("SELECT state FROM arrivals ORDER BY id")]
    assert sorted(states[:3]) == ["duplicate", "imported", "imported"] and states[3] == "failed"


def waiting(repository: Repository) -> list[queue.Queued]:
    with repository.engine.begin() as conn:
        return queue.queued(conn)


async def test_a_source_that_was_kept_is_removed_when_it_is_asked_for_again(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hall(repository, source) as h:
        with monkeypatch.context() as refusing:
            refusing.setattr(removal, "remove_beneath", _refuse)
            first = await h.taking.take(h.arrival(transfer="cp_rm"))
        assert first.state is State.IMPORTED and "may not remove" in first.source
        assert (source / "scan.tif").exists()
        other = await h.taking.take(h.arrival(transfer="cp"))
        assert (other.state, other.source, (source / "scan.tif").exists()) == (State.DUPLICATE, "kept", True)
        again = await h.taking.take(h.arrival(transfer="cp_rm"))
        assert (again.state, again.fileset, again.source) == (State.DUPLICATE, first.fileset, "removed")
        assert not (source / "scan.tif").exists()


def _refuse(*_: object) -> None:
    raise AccessDenied("uid 5000 may not remove it")


# --- what is held -----------------------------------------------------------------------------------


async def test_what_there_is_no_room_for_is_refused_before_it_is_copied(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(*_given: object, **_named: object) -> None:
        raise AssertionError("its bytes were copied")

    monkeypatch.setattr(Bringing, "bring", copied)
    counts = FakeCounts(room=5)
    async with hall(repository, source, counts) as h:
        arrived = await h.taking.take(h.arrival())
        assert (arrived.state, arrived.error) == (State.FAILED, "the quota of user alice is 1 B")
        h.check_empty()
    assert counts.told == []


@pytest.mark.parametrize(("transfer", "size"), [("upload", 6), ("cp", 6), ("ln", 0), ("ln_s", 0), ("ln_rm", 6)])
async def test_what_has_come_is_told_and_comes_no_more(
    repository: Repository, source: Path, transfer: str, size: int
) -> None:
    counts = FakeCounts()
    async with hall(repository, source, counts) as h:
        assert (await h.taking.take(h.arrival(transfer=transfer))).state is State.IMPORTED
    assert counts.total() == Held(b"", 0, originals=size, original_files=1)
    assert counts.inodes == []


async def test_what_was_to_come_and_failed_comes_no_more(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr(Bringing, "bring", broken)
    counts = FakeCounts()
    async with hall(repository, source, counts) as h:
        assert (await h.taking.take(h.arrival())).state is State.FAILED
    assert [one.coming for one in counts.told] == [6, -6]
    assert counts.total() == Held(b"", 0)
