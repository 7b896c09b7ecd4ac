"""One import from drop to outcome, in a real repository with a real catalogue."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy
import pytest
import tifffile
import trio
from sqlalchemy import event

from repofs import config
from repofs.catalog import audit, filesets, news, users
from repofs.catalog.objects import describe
from repofs.disk import Disk
from repofs.errors import ReaderFailed
from repofs.image import ImageInfo, Recognised
from repofs.importer import bringing, transactions
from repofs.importer.commits import Commits
from repofs.importer.pipeline import Pipeline
from repofs.importer.placement import Placement
from repofs.importer.readers import Readers
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Duplicates, ObjectRef, Original, Outcome, PermissionLevel, Refused
from repofs.people import Actor, People
from repofs.quotas import Held
from repofs.repository import import_directory
from repofs.repository.checksum import Checksum
from repofs.repository.marks import ORIGINAL_BIT
from tests.helpers.importing import FakeCounts, FakeReaders, Repository

pytestmark = pytest.mark.trio

LAB = frozenset({os.getgid()})
PEOPLE = People({uid: Actor(uid, name, LAB) for uid, name in ((5000, "alice"), (5001, "bob"))})
IMAGE = ImageInfo("scan", 0, 512, 256, 1, 2, 1, "uint16")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@asynccontextmanager
async def pipeline(
    repository: Repository,
    readers: FakeReaders | Readers | None = None,
    settings: config.Settings | None = None,
    counts: FakeCounts | None = None,
) -> AsyncIterator[Pipeline]:
    commits = Commits(repository.engine)
    made = Pipeline(
        repository.layout,
        settings or config.Settings(),
        commits,
        readers or FakeReaders(),
        {},
        lambda: PEOPLE,
        counts or FakeCounts(),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def test_a_file_becomes_an_original(repository: Repository) -> None:
    path = repository.write(repository.alice, b"ProjectX/DatasetY/scan.tif")
    readers = FakeReaders()
    readers.answers["scan.tif"] = Recognised("TIFF", (IMAGE,), {"Make": "Zeiss"})
    drop, fd = repository.drop(repository.alice, b"ProjectX/DatasetY/scan.tif")
    async with pipeline(repository, readers) as importing:
        outcome = await importing.take(drop, fd)
    mark = repository.check_whole(path)
    assert outcome == Outcome(
        drop.token, State.IMPORTED, fileset=mark.fileset, import_directory=os.fsencode(mark.import_directory)
    )
    assert mark.checksum == f"SHA1-160:{hashlib.sha1(b'pixels').hexdigest()}"
    with repository.engine.begin() as conn:
        known = describe(conn, ObjectRef("Image", mark.images[0]))
    assert known["size_x"] == 512
    assert "DatasetY" in str(known["datasets"])
    assert "ProjectX" in str(known["datasets"])
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        os.fstat(fd)


async def test_one_file_costs_two_commits(repository: Repository) -> None:
    path = repository.write(repository.alice, b"ProjectX/DatasetY/scan.tif")
    readers = FakeReaders()
    readers.answers["scan.tif"] = Recognised("TIFF", (IMAGE,))
    drop, fd = repository.drop(repository.alice, b"ProjectX/DatasetY/scan.tif")
    repository.write(repository.alice, b"other")
    commits: list[object] = []
    async with pipeline(repository, readers) as importing:
        await importing.take(*repository.drop(repository.alice, b"other"))  # what a start commits is done
        event.listen(repository.engine, "commit", commits.append)
        await importing.take(drop, fd)
        assert len(commits) == 2
    repository.check_whole(path)


async def test_a_target_that_cannot_be_used_fails_its_own_file_alone(repository: Repository) -> None:
    readers = FakeReaders()
    long = b"/".join((b"x" * 255, b"scan.tif"))
    outcomes: dict[bytes, Outcome] = {}

    async def take(importing: Pipeline, path: bytes) -> None:
        repository.write(repository.alice, path)
        outcomes[path] = await importing.take(*repository.drop(repository.alice, path))

    readers.answers["scan.tif"] = Recognised("TIFF", (IMAGE,))
    with repository.engine.begin() as conn:
        conn.exec_driver_sql(
            "CREATE TRIGGER no BEFORE INSERT ON datasets WHEN NEW.name LIKE 'xxx%' BEGIN "
            "SELECT RAISE(ABORT, 'no such name'); END"
        )
    async with pipeline(repository, readers) as importing, trio.open_nursery() as nursery:
        nursery.start_soon(take, importing, long)
        nursery.start_soon(take, importing, b"DatasetY/scan.tif")
    assert outcomes[long].state is State.FAILED
    with repository.engine.begin() as conn:
        assert {one.path: one.kind for one in news.after(conn, 0)} == {
            path: one.state for path, one in outcomes.items()
        }
    assert outcomes[b"DatasetY/scan.tif"].state is State.IMPORTED


async def test_what_somebody_else_dropped_is_its_owners_and_names_who_did(repository: Repository) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    drop, fd = repository.drop(repository.alice, b"scan.tif")
    async with pipeline(repository) as importing:
        await importing.take(replace(drop, actor_uid=5001, actor="bob"), fd)
    mark = repository.check_whole(path)
    assert mark.actor_uid == 5001
    log = repository.layout.managed / mark.user_directory / f"{mark.import_directory}.log"
    assert "for alice in group lab, by bob" in log.read_text()
    with repository.engine.begin() as conn:
        known = describe(conn, ObjectRef("Fileset", mark.fileset))
        [deed] = audit.entries(conn)
    assert (known["owner"], known["actor_uid"]) == ("alice", 5001)
    assert (deed.actor_uid, deed.act, deed.target, deed.path) == (
        5001, "import-as", f"Fileset:{mark.fileset}", repository.alice + b"/scan.tif",
    )  # fmt: skip


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another group: run the tests as root")
async def test_an_import_belongs_to_the_group_of_its_drop(repository: Repository) -> None:
    with repository.engine.begin() as conn:
        team = users.add_group(conn, "team", 6000, PermissionLevel.PRIVATE)
    path = repository.write(repository.alice, b"proj/scan.tif")
    os.chown(path, 5001, 6000)
    path.chmod(0o400)
    drop, fd = repository.drop(repository.alice, b"proj/scan.tif")
    async with pipeline(repository) as importing:
        await importing.take(replace(drop, gid=6000), fd)
    mark = repository.check_whole(path)
    directory = repository.layout.managed / mark.user_directory / mark.import_directory
    assert {one.stat().st_gid for one in (path, directory, directory.with_name(f"{directory.name}.log"))} == {6000}
    owner = repository.path(repository.alice, b"").stat().st_uid
    assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (owner, 0o600 | ORIGINAL_BIT)
    with repository.engine.begin() as conn:
        assert describe(conn, ObjectRef("Fileset", mark.fileset))["group_id"] == team.id


async def test_the_log_begins_with_the_first_create_and_tells_every_step(repository: Repository) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with pipeline(repository) as importing:
        await importing.take(*repository.drop(repository.alice, b"scan.tif"))
    mark = repository.check_whole(path)
    log = repository.layout.managed / mark.user_directory / f"{mark.import_directory}.log"
    *lines, record = log.read_text().splitlines()
    assert record.startswith("record ")
    assert lines[0] == "1970-01-01T00:00:01.000Z created by uid 5000, cp"
    for part in (mark.checksum, " ms)", "alice", f"Fileset:{mark.fileset}", "no reader knows"):
        assert any(part in line for line in lines), part
    assert all(line[:2] in ("19", "20") and line[23] == "Z" for line in lines)


async def test_real_readers_find_the_image(repository: Repository) -> None:
    path = repository.path(repository.alice, b"scan.tif")
    tifffile.imwrite(path, numpy.zeros((3, 32, 48), "uint16"), photometric="minisblack")
    content = path.read_bytes()
    repository.write(repository.alice, b"scan.tif", content)
    async with Readers(config.Readers(workers=1, timeout_seconds=60)) as readers:
        async with pipeline(repository, readers) as importing:
            await importing.take(*repository.drop(repository.alice, b"scan.tif"))
    assert repository.check_whole(path, content).images


@pytest.mark.parametrize("content", [b"", b"x", b"y" * (bringing.SMALL_BYTES + 1)])
async def test_any_bytes_are_kept(repository: Repository, content: bytes) -> None:
    path = repository.write(repository.alice, b"\xff\n \xfe.bin", content)
    async with pipeline(repository) as importing:
        await importing.take(*repository.drop(repository.alice, b"\xff\n \xfe.bin"))
    repository.check_whole(path, content)


async def test_a_reader_that_breaks_costs_the_image_not_the_import(repository: Repository) -> None:
    path = repository.write(repository.alice, b"bomb.tif")
    readers = FakeReaders()
    readers.answers["bomb.tif"] = ReaderFailed("the reader did not finish within 60 s")
    async with pipeline(repository, readers) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"bomb.tif"))
    assert outcome.state is State.IMPORTED
    assert repository.check_whole(path).note == "the reader did not finish within 60 s"


async def test_a_directory_is_one_fileset(repository: Repository) -> None:
    names = [b"a.zarr/.zattrs", b"a.zarr/0/0.0", b"a.zarr/0/0.1", b"a.zarr/1/0.0"]
    paths = [repository.write(repository.alice, b"P/" + name, name) for name in names]
    outside = repository.write(repository.alice, b"secret", b"secret")
    (paths[0].parent / "link").symlink_to(outside)
    os.mkfifo(paths[0].parent / "pipe")
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"P/a.zarr"))
        marks = [repository.check_whole(path, name) for path, name in zip(paths, names, strict=True)]
        assert {mark.fileset for mark in marks} == {outcome.fileset}
        assert [mark.name.encode() for mark in marks] == names
        assert not isinstance(repository.mark(outside), Original)
        again = await importing.take(*repository.drop(repository.alice, b"P/a.zarr"))
        assert again.state is State.IMPORTED
        added = repository.write(repository.alice, b"P/a.zarr/1/0.1", b"more")
        more = await importing.take(*repository.drop(repository.alice, b"P/a.zarr"))
        assert repository.check_whole(added, b"more").fileset == more.fileset != outcome.fileset


async def test_an_incomplete_file_keeps_its_directory_back(repository: Repository) -> None:
    whole = repository.write(repository.alice, b"a.zarr/0")
    half = repository.write(repository.alice, b"a.zarr/1")
    repository.marks.clear(str(half))
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"a.zarr"))
        assert outcome.state is State.FAILED
        assert "a.zarr/1 is incomplete" in str(outcome.error)
        assert isinstance(repository.check_untouched(whole), Refused)
        assert repository.check_untouched(half) is None
        repository.write(repository.alice, b"a.zarr/1")
        outcome = await importing.take(*repository.drop(repository.alice, b"a.zarr"))
    assert outcome.state is State.IMPORTED
    repository.check_whole(whole)


async def test_two_names_of_one_file_are_not_two_originals(repository: Repository) -> None:
    whole = repository.write(repository.alice, b"a.zarr/0")
    os.link(whole, whole.with_name("1"))
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"a.zarr"))
        assert outcome.state is State.FAILED
        assert "a.zarr/0 and a.zarr/1 are one file, by a hard link" in str(outcome.error)
        whole.with_name("1").unlink()
        outcome = await importing.take(*repository.drop(repository.alice, b"a.zarr"))
    assert outcome.state is State.IMPORTED
    repository.check_whole(whole)


async def test_a_writer_that_is_left_puts_the_import_off(repository: Repository) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    with path.open("r+b") as writer:
        async with pipeline(repository) as importing:
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert not writer.closed
    assert outcome.state is State.SETTLING
    assert isinstance(repository.check_untouched(path), Closed)


async def test_bytes_that_change_under_the_reading_put_the_import_off(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    read_on = Checksum.read_on

    def meddle(running: Checksum, fd: int) -> None:
        read_on(running, fd)
        path.write_bytes(b"others")

    monkeypatch.setattr(Checksum, "read_on", meddle)
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
    assert outcome.state is State.SETTLING
    assert path.read_bytes() == b"others"
    assert repository.originals() == []
    repository.check_clean()


async def test_who_came_between_the_hash_and_the_mark_is_found(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    put = Placement.put
    writers: list[BinaryIO] = []

    def meddle(*given: Any) -> bytes:
        writers.append(path.open("r+b"))
        return put(*given)

    monkeypatch.setattr(Placement, "put", meddle)
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
    writers[0].close()
    assert outcome.state is State.SETTLING
    assert repository.originals() == []
    assert isinstance(repository.check_untouched(path), Closed)
    repository.check_clean()


async def test_duplicates_are_refused_where_the_policy_says_so(repository: Repository) -> None:
    first, second = (repository.write(repository.alice, name) for name in (b"a.tif", b"b.tif"))
    other = repository.write(repository.bob, b"c.tif")
    async with pipeline(repository) as importing:
        one = await importing.take(*repository.drop(repository.alice, b"a.tif", duplicates=Duplicates.REFUSE))
        two = await importing.take(*repository.drop(repository.alice, b"b.tif", duplicates=Duplicates.REFUSE))
        await importing.take(*repository.drop(repository.bob, b"c.tif", duplicates=Duplicates.REFUSE))
        assert two.state is State.DUPLICATE
        assert f"Fileset:{one.fileset}" in str(two.error)
        mark = repository.mark(second)
        assert isinstance(mark, Refused)
        assert mark.state is State.DUPLICATE
        repository.check_whole(first)
        repository.check_whole(other)
        await importing.take(*repository.drop(repository.alice, b"b.tif"))
    repository.check_whole(second)


async def test_the_same_bytes_at_the_same_time(repository: Repository) -> None:
    names = [b"%d.tif" % number for number in range(8)]
    for name in names:
        repository.write(repository.alice, name)
    async with pipeline(repository) as importing:
        outcomes = await all_of(
            importing, [repository.drop(repository.alice, name, duplicates=Duplicates.REFUSE) for name in names]
        )
    assert [outcome.state for outcome in outcomes].count(State.IMPORTED) == 1
    assert len(repository.originals()) == 1


async def all_of(importing: Pipeline, drops: list[tuple[Drop, int]]) -> list[Outcome]:
    """Import all at the same time."""
    outcomes: list[Outcome] = []

    async def one(drop: Drop, fd: int) -> None:
        outcomes.append(await importing.take(drop, fd))

    async with trio.open_nursery() as nursery:
        for drop, fd in drops:
            nursery.start_soon(one, drop, fd)
    return outcomes


async def test_many_at_a_time_get_a_directory_each(repository: Repository) -> None:
    count = 100
    paths = [repository.write(repository.alice, b"%d.bin" % number, b"%d" % number) for number in range(count)]
    async with pipeline(repository) as importing:
        outcomes = await all_of(
            importing, [repository.drop(repository.alice, b"%d.bin" % number) for number in range(count)]
        )
    assert {outcome.state for outcome in outcomes} == {State.IMPORTED}
    assert len({outcome.import_directory for outcome in outcomes}) == count
    assert len({outcome.fileset for outcome in outcomes}) == count
    for number, path in enumerate(paths):
        repository.check_whole(path, b"%d" % number)


async def test_a_target_that_is_not_there(repository: Repository) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif", target="Dataset:99"))
    assert outcome.state is State.FAILED
    assert "Dataset:99" in str(outcome.error)
    repository.check_untouched(path)


async def test_a_directory_of_no_experimenter(repository: Repository) -> None:
    repository.layout.make_user_directory("eve_9", os.getuid(), os.getgid())
    path = repository.write(b"eve_9", b"scan.tif")
    async with pipeline(repository) as importing:
        outcome = await importing.take(*repository.drop(b"eve_9", b"scan.tif"))
    assert outcome.state is State.FAILED
    assert "repofs user add" in str(outcome.error)
    mark = repository.check_untouched(path)
    assert isinstance(mark, Refused)
    assert (repository.layout.managed / mark.log).read_text().startswith("1970-01-01T00:00:01.000Z created")


def bug(*_args: object, **_more: object) -> None:
    raise ZeroDivisionError


STEPS = {
    "checksum": (Checksum, "read_on"),
    "check target": (transactions, "check_targets"),
    "reserve ids": (transactions, "reserve"),
    "stage": (import_directory, "stage"),
    "write log": (import_directory, "write_log"),
    "publish": (import_directory, "publish"),
    "mark": (Placement, "mark"),
    "sync": (Disk, "sync"),
    "record": (filesets, "record"),
}


@pytest.mark.parametrize("step", list(STEPS))
async def test_a_step_that_fails_leaves_nothing_and_says_why(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    paths = [repository.write(repository.alice, name) for name in (b"a.zarr/0", b"a.zarr/1", b"scan.tif")]
    async with pipeline(repository) as importing:
        with monkeypatch.context() as broken:
            broken.setattr(*STEPS[step], bug)
            for name in (b"a.zarr", b"scan.tif"):
                outcome = await importing.take(*repository.drop(repository.alice, name, target="Dataset:name:Y"))
                assert outcome.state is State.FAILED
                assert outcome.error
        for path in paths:
            mark = repository.check_untouched(path)
            assert isinstance(mark, Refused)
            assert mark.state is State.FAILED
            log = repository.layout.managed / mark.log
            assert log.read_text().splitlines()[-1].endswith(mark.error)
        for name in (b"a.zarr", b"scan.tif"):
            outcome = await importing.take(*repository.drop(repository.alice, name))
            assert outcome.state is State.IMPORTED
    for path in paths:
        repository.check_whole(path)


async def test_a_culprit_does_not_fail_its_neighbours(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [repository.write(repository.alice, b"%d.bin" % number) for number in range(20)]
    record = filesets.record

    def choosy(conn: object, finished: list[filesets.FinishedImport]) -> None:
        if any(one.entries[0].name == b"7.bin" for one in finished):
            raise ValueError("these rows break a rule")
        record(conn, finished)  # type: ignore[arg-type]

    monkeypatch.setattr(filesets, "record", choosy)
    async with pipeline(repository) as importing:
        outcomes = await all_of(
            importing, [repository.drop(repository.alice, b"%d.bin" % number) for number in range(20)]
        )
    assert [outcome.state for outcome in outcomes].count(State.FAILED) == 1
    assert isinstance(repository.mark(paths.pop(7)), Refused)
    for path in paths:
        repository.check_whole(path)


async def test_stopped_while_it_reads(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(bringing.SMALL_BYTES + 1)  # to a small one the stop does not come
    path = repository.write(repository.alice, b"scan.tif", content)
    reading, go_on = trio.Event(), trio.Event()
    read_on = Checksum.read_on

    def slow(running: Checksum, fd: int) -> None:
        trio.from_thread.run_sync(reading.set)
        trio.from_thread.run(wait)
        read_on(running, fd)

    wait: Callable[[], Awaitable[None]] = go_on.wait
    monkeypatch.setattr(Checksum, "read_on", slow)
    async with pipeline(repository) as importing:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(importing.take, *repository.drop(repository.alice, b"scan.tif"))
            await reading.wait()
            nursery.cancel_scope.cancel()
        go_on.set()
    assert isinstance(repository.check_untouched(path, content), Closed)
    assert repository.row(1).state is State.SETTLING


async def test_what_failed_is_news_and_its_log_is_where_they_say(repository: Repository) -> None:
    repository.write(repository.alice, b"P/scan.tif")
    drop, fd = repository.drop(repository.alice, b"P/scan.tif", target="Dataset:99")
    async with pipeline(repository) as importing:
        await importing.take(replace(drop, source=b"scope/P/scan.tif"), fd)
    with repository.engine.begin() as conn:
        [one] = news.after(conn, 0)
    assert (one.kind, one.source, one.path, one.gid) == (State.FAILED, b"scope/P/scan.tif", b"P/scan.tif", os.getgid())
    assert "Dataset:99" in str(one.error)
    assert "Dataset:99" in (repository.layout.managed / os.fsdecode(one.log)).read_text()


# --- what is held -----------------------------------------------------------------------------------


async def test_what_an_import_makes_of_drops_is_told(repository: Repository) -> None:
    repository.write(repository.alice, b"scan.tif")
    drop, fd = repository.drop(repository.alice, b"scan.tif")
    size, inode = os.fstat(fd).st_size, os.fstat(fd).st_ino
    counts = FakeCounts()
    async with pipeline(repository, counts=counts) as importing:
        assert (await importing.take(drop, fd)).state is State.IMPORTED
        assert (counts.total(), counts.inodes) == (Held(b"", 0, -size, -1, size, 1), [inode])
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        again, fd = repository.drop(repository.alice, b"scan.tif")
        await importing.take(again, fd)  # it was imported before: nothing changes
    assert counts.total() == Held(b"", 0, -size, -1, size, 1)


async def test_an_import_that_fails_changes_nothing_that_is_held(repository: Repository) -> None:
    repository.write(repository.alice, b"scan.tif")
    readers, counts = FakeReaders(), FakeCounts()
    readers.answers["scan.tif"] = RuntimeError("broken")
    drop, fd = repository.drop(repository.alice, b"scan.tif")
    async with pipeline(repository, readers, counts=counts) as importing:
        assert (await importing.take(drop, fd)).state is State.FAILED
    assert counts.told == []
