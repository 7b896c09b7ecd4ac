"""Imports on a disk that is full, and on one that fails: what was dropped stays a drop, and is imported later."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from repofs.catalog import filesets
from repofs.catalog.engine import open_engine
from repofs.config import Settings
from repofs.disk import Disk
from repofs.errors import StoreFailed, StoreFull
from repofs.importer import giving_up, transactions
from repofs.importer.commits import FULL_SECONDS, Commits
from repofs.importer.pipeline import Pipeline
from repofs.importer.placement import Placement
from repofs.importer.recovery import recover
from repofs.lifecycle import State
from repofs.model import Closed, Original
from repofs.people import People
from repofs.repository import import_directory
from repofs.repository.checksum import Checksum
from repofs.repository.room import Room
from tests.helpers.importing import FakeCounts, FakeReaders, Repository

pytestmark = pytest.mark.trio

Fault = Callable[..., None]
STEPS = {
    "checksum": (Checksum, "read_on"),
    "reserve ids": (transactions, "reserve"),
    "stage": (import_directory, "stage"),
    "write log": (import_directory, "write_log"),
    "publish": (import_directory, "publish"),
    "mark": (Placement, "mark"),
    "record": (filesets, "record"),
}


@asynccontextmanager
async def life(repository: Repository) -> AsyncIterator[tuple[Pipeline, Commits]]:
    """A life of the importer process, which begins with recovery."""
    engine = open_engine(repository.layout.catalogue)
    interrupted = recover(repository.layout, engine)
    commits = Commits(engine)
    made = Pipeline(
        repository.layout, Settings(), commits, FakeReaders(), interrupted, lambda: People({}), FakeCounts()
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        nursery.start_soon(made.run)
        yield made, commits
        nursery.cancel_scope.cancel()
    engine.dispose()


def failing(code: int) -> Fault:
    def fail(*_args: object, **_more: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@pytest.mark.parametrize(("step", "code"), [*((step, errno.ENOSPC) for step in STEPS), ("stage", errno.EDQUOT)])
async def test_on_a_full_disk_a_drop_waits_and_is_imported_when_there_is_room(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, step: str, code: int
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with life(repository) as (importing, commits):
        with monkeypatch.context() as full:
            full.setattr(*STEPS[step], failing(code))
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert (outcome.state, outcome.again_seconds) == (State.SETTLING, FULL_SECONDS)
        assert "the disk" in str(outcome.error) and "attributes" in str(outcome.error)
        assert isinstance(repository.check_untouched(path), Closed)
        assert commits.health.failure is None
        assert (await importing.take(*repository.drop(repository.alice, b"scan.tif"))).state is State.IMPORTED
    repository.check_whole(path)


def no_room(*_args: object) -> None:
    raise StoreFull("the disk is full")


async def test_a_commit_without_room_leaves_nothing_of_the_import(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with life(repository) as (importing, _):
        with monkeypatch.context() as full:
            full.setattr(filesets, "record", no_room)
            full.setattr(transactions, "end", no_room)  # nor is there room to say so
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert outcome.state is State.SETTLING
        assert (path.stat().st_nlink, os.listdir(repository.layout.staging)) == (1, [])
        assert isinstance(repository.mark(path), Closed)
        assert (await importing.take(*repository.drop(repository.alice, b"scan.tif"))).state is State.IMPORTED
    async with life(repository):  # which clears the row that nobody could write to
        repository.check_whole(path)


async def test_what_cannot_be_taken_back_is_once_there_is_room(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    left = [no_room, no_room, Placement.take_back]
    monkeypatch.setattr(giving_up, "FULL_SECONDS", 0.0)
    async with life(repository) as (importing, _):
        with monkeypatch.context() as full:
            full.setattr(filesets, "record", no_room)
            full.setattr(Placement, "take_back", lambda *given: left.pop(0)(*given))
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert (outcome.state, outcome.undecided, left) == (State.SETTLING, False, [])
        assert isinstance(repository.check_untouched(path), Closed)
        assert (await importing.take(*repository.drop(repository.alice, b"scan.tif"))).state is State.IMPORTED
        repository.check_whole(path)


async def test_what_could_not_be_taken_back_before_the_end_is_by_a_new_life(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with life(repository) as (importing, _):
        with monkeypatch.context() as full:
            full.setattr(filesets, "record", no_room)
            full.setattr(Placement, "take_back", no_room)
            with trio.move_on_after(1) as waited:
                await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert waited.cancelled_caught
        assert isinstance(repository.mark(path), Original)
    async with life(repository) as (importing, _):
        assert isinstance(repository.check_untouched(path), Closed)
        assert (await importing.take(*repository.drop(repository.alice, b"scan.tif"))).state is State.IMPORTED
        repository.check_whole(path)


async def test_a_drop_in_the_hands_of_an_importer_that_ends_has_not_failed(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = repository.write(repository.alice, b"scan.tif")

    def ended(*_args: object) -> None:
        raise trio.BrokenResourceError

    async with life(repository) as (importing, _):
        monkeypatch.setattr(transactions, "reserve", ended)
        monkeypatch.setattr(transactions, "end", ended)
        outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
    assert outcome.state is State.SETTLING
    assert isinstance(repository.mark(path), Closed)


async def test_nothing_is_begun_when_most_of_the_reserve_is_spent(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.write(repository.alice, b"scan.tif")
    async with life(repository) as (importing, _):
        with monkeypatch.context() as full:
            full.setattr(Room, "reserve", lambda *_: 1 << 60)
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert (outcome.state, outcome.again_seconds) == (State.SETTLING, FULL_SECONDS)
        with repository.engine.begin() as conn:
            assert not conn.exec_driver_sql("SELECT count(*) FROM imports").scalar()


@pytest.mark.parametrize("step", ["stage", "write log", "publish", "mark", "sync", "late sync", "record"])
async def test_on_a_disk_that_fails_nothing_is_imported_until_a_new_life_has_recovered(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    async with life(repository) as (importing, commits):
        with monkeypatch.context() as broken:
            _break(broken, step)
            outcome = await importing.take(*repository.drop(repository.alice, b"scan.tif"))
        assert outcome.state is State.SETTLING
        assert outcome.undecided  # its mark may say that it is imported
        assert "read-only" in str(outcome.error)
        assert commits.health.failure == outcome.error
        again = await importing.take(*repository.drop(repository.alice, b"scan.tif"))  # the disk works now, and yet
        assert (again.state, again.error) == (State.SETTLING, outcome.error)
    assert path.read_bytes() == b"pixels"
    async with life(repository) as (importing, _):
        assert isinstance(repository.check_untouched(path), Closed)
        assert (await importing.take(*repository.drop(repository.alice, b"scan.tif"))).state is State.IMPORTED
    repository.check_whole(path)


def _break(broken: pytest.MonkeyPatch, step: str) -> None:
    match step:
        case "sync":
            broken.setattr(Disk, "sync", failing(errno.EIO))
        case "late sync":  # on a quota of the disk's: pages that were taken before are lost all the same
            broken.setattr(Disk, "sync", failing(errno.ENOSPC))
        case "record":

            def damaged(*_args: object) -> None:
                raise StoreFailed.because("the catalogue: disk I/O error")

            broken.setattr(filesets, "record", damaged)
        case _:
            broken.setattr(*STEPS[step], failing(errno.EIO))


async def test_an_error_of_the_sync_is_that_of_all_who_share_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [b"%d.bin" % number for number in range(8)]
    paths = [repository.write(repository.alice, name) for name in names]
    real, calls = Disk.sync, []

    def once(disk: Disk) -> None:
        """As Linux has it: the error is told once."""
        calls.append(disk)
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(disk)

    monkeypatch.setattr(Disk, "sync", once)
    outcomes = []

    async def take(importing: Pipeline, name: bytes) -> None:
        outcomes.append(await importing.take(*repository.drop(repository.alice, name)))

    async with life(repository) as (importing, _), trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(take, importing, name)
    assert {outcome.state for outcome in outcomes} == {State.SETTLING}
    async with life(repository):
        assert all(isinstance(repository.check_untouched(path), Closed) for path in paths)
