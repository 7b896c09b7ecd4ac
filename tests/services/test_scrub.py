"""The scrub of an importer: it waits for imports, goes on after a restart, and minds what happens meanwhile."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from sqlalchemy import delete, select

from repofs import config
from repofs.catalog.engine import open_engine
from repofs.catalog.schema import fileset_entries, original_files
from repofs.catalog.users import experimenters
from repofs.importer import scrub
from repofs.importer.commits import Commits
from repofs.importer.scrub import Scrub
from repofs.lifecycle import State
from repofs.model import Original
from repofs.threads import in_thread
from tests.helpers.catalogue import NOON, Import, imported
from tests.helpers.importing import Repository
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

CONTENT = b"what the microscope saw\n" * 1000


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setattr(scrub, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(scrub, "LOOK_SECONDS", 0.1)
    return Repository.make(tmp_path / "repository")


def originals(repository: Repository, count: int) -> list[Path]:
    """Import so many files and return where they lie; the third is number 3."""
    checksum = f"SHA1-160:{hashlib.sha1(CONTENT).hexdigest()}"
    paths = []
    with repository.engine.begin() as conn:
        alice = experimenters(conn)[0]
        wanted = [Import(alice, (b"%d.dat" % number,), (), checksum) for number in range(count)]
        for one in imported(conn, *wanted):
            [file] = one.entries
            conn.execute(original_files.update().values(size=len(CONTENT)))
            place = os.path.join(one.user_directory, one.import_directory, file.name)
            path = repository.layout.managed / os.fsdecode(place)
            path.parent.mkdir(parents=True)
            path.write_bytes(CONTENT)
            mark = Original(
                file.original_id, one.fileset_id, (), checksum, "upload", NOON, os.fsdecode(one.user_directory),
                os.fsdecode(one.import_directory), os.fsdecode(file.name), one.import_id,
            )  # fmt: skip
            repository.marks.write(str(path), mark)
            paths.append(path)
    return paths


class Service:
    """A scrub that runs, and what it says to the mount."""

    def __init__(self, repository: Repository, bytes_per_second: float = 1e9) -> None:
        self.marked: list[int] = []
        self.importing = False
        self._no_import = trio.Event()
        self._repository = repository
        settings = config.Settings(verify=config.Verify(every_days=1, bytes_per_second=bytes_per_second))
        self.commits = Commits(repository.engine)
        catalogue = open_engine(repository.layout.catalogue, read_only=True)
        self.scrub = Scrub(repository.layout, settings, self.commits, catalogue, self._idle, self._tell)

    async def _idle(self) -> None:
        while self.importing:
            await self._no_import.wait()

    def imports_end(self) -> None:
        self.importing = False
        self._no_import.set()

    async def _tell(self, inodes: Sequence[int]) -> None:
        self.marked += inodes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Service]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.commits.run)
            nursery.start_soon(self.scrub.run)
            yield self
            nursery.cancel_scope.cancel()


def rows(repository: Repository) -> dict[int, tuple[str | None, str | None]]:
    """Return (verified, stands) of each original."""
    file = original_files.c
    with repository.engine.begin() as conn:
        return {row.id: (row.verified, row.stands) for row in conn.execute(select(file.id, file.verified, file.stands))}


def verified(repository: Repository) -> list[int]:
    return [number for number, (when, _) in rows(repository).items() if when is not None]


async def wait(repository: Repository, count: int) -> None:
    await in_thread(until, lambda: len(verified(repository)) >= count, f"{count} are verified")


async def test_it_finds_what_is_not_well(repository: Repository) -> None:
    paths = originals(repository, 3)
    paths[0].write_bytes(CONTENT.upper())
    paths[2].unlink()
    inode = paths[0].stat().st_ino
    async with Service(repository).running() as service:
        await wait(repository, 3)
        facts = await service.scrub.facts()
    assert [stands for _, stands in rows(repository).values()] == ["altered", None, "missing"]
    assert service.marked == [inode]
    mark = repository.mark(paths[0])
    assert isinstance(mark, Original) and mark.stands is State.ALTERED
    assert (facts["files"], facts["due"], facts["never"]) == (3, 0, 0)
    assert facts["found"] == {"altered": 1, "missing": 1}


@pytest.mark.parametrize("missing", [False, True])
async def test_imports_go_first(repository: Repository, missing: bool) -> None:
    for path in originals(repository, 2):
        if missing:
            path.unlink()
    service = Service(repository)
    service.importing = True
    async with service.running():
        await trio.sleep(0.5)
        assert verified(repository) == []
        assert (await service.scrub.facts())["running"] is True
        service.imports_end()
        await wait(repository, 2)


async def test_a_restart_goes_on(repository: Repository) -> None:
    originals(repository, 6)
    async with Service(repository, bytes_per_second=2 * len(CONTENT)).running():
        await wait(repository, 1)
    first = {number: when for number, (when, _) in rows(repository).items() if when is not None}
    assert 1 <= len(first) < 6 and sorted(first) == list(range(1, len(first) + 1))
    async with Service(repository).running():
        await wait(repository, 6)
    assert {number: rows(repository)[number][0] for number in first} == first


async def test_what_is_deleted_meanwhile_is_not_missed(repository: Repository, caplog: Any) -> None:
    [path] = originals(repository, 1)
    service = Service(repository)
    service.importing = True
    async with service.running():
        await trio.sleep(0.3)
        path.unlink()
        with repository.engine.begin() as conn:
            conn.execute(delete(fileset_entries))
            conn.execute(delete(original_files))
        service.imports_end()
        await trio.sleep(0.3)
        assert (await service.scrub.facts())["found"] == {}


async def test_a_catalogue_that_refuses_ends_nothing(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    originals(repository, 1)
    refused = []

    def refuse(*_: object) -> None:
        refused.append(1)
        if len(refused) < 3:
            raise OSError("the disk is full")

    record = scrub.transactions.verification.record

    def record_or_refuse(*arguments: Any) -> Any:
        refuse()
        return record(*arguments)

    monkeypatch.setattr(scrub.transactions.verification, "record", record_or_refuse)
    async with Service(repository).running():
        await wait(repository, 1)
    assert len(refused) >= 3


async def nobody(inodes: Sequence[int]) -> None:
    raise AssertionError(inodes)


async def test_none_unless_it_is_wanted(repository: Repository) -> None:
    originals(repository, 1)
    off = config.Settings(verify=config.Verify(every_days=0))
    catalogue = open_engine(repository.layout.catalogue, read_only=True)
    commits = Commits(repository.engine)
    with trio.fail_after(5):
        await Scrub(repository.layout, off, commits, catalogue, trio.sleep_forever, nobody).run()
    assert verified(repository) == []
