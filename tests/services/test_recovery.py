"""The importer process is killed at every step: nothing is lost, nothing is imported twice, nothing is left half."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from repofs.catalog import imports
from repofs.errors import DaemonUnreachable, NotFound
from repofs.events import News
from repofs.fault_points import Step
from repofs.health import Health
from repofs.importer.inbox import Inbox
from repofs.importer.link import importer_process, wait_ready
from repofs.importer.recovery import recover
from repofs.importer.wire import Channel, Handed, Hangup
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Outcome, Refused
from repofs.people import People
from tests.helpers.importing import Repository
from tests.helpers.inbox import Accountant
from tests.helpers.prepared_importers import PreparedImporters, prepared_importers

pytestmark = pytest.mark.trio

IN_IMPORT = [
    Step.INTENT_COMMITTED,
    Step.HASHED,
    Step.RESERVED,
    Step.FILE_STAGED,
    Step.LOG_WRITTEN,
    Step.LOG_LINKED,
    Step.PUBLISHED,
    Step.FILE_MARKED,
    Step.SYNCED,
    Step.ROWS_WRITTEN,
    Step.COMMITTED,
    Step.CLEARED,
]
COMMITTED = (Step.COMMITTED, Step.CLEARED)
IN_RECOVERY = [Step.MARK_RESTORED, Step.WITHDRAWN, Step.UNLINKED, Step.UNDONE, Step.ARRIVALS_CLEARED, Step.RELEASED]
NAMES = (b"a.zarr/0", b"a.zarr/1/0", b"scan.tif")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@pytest.fixture(scope="module")
def importers() -> Iterator[PreparedImporters]:
    with prepared_importers() as prepared:
        yield prepared


async def killed_at(step: Step, importers: PreparedImporters, repository: Repository, *names: bytes) -> None:
    """Have an importer take the drops *names*, and be killed."""
    with pytest.raises(Hangup):
        async with importers.start(repository.layout.root, step) as (channel, _):
            for name in names:
                drop, fd = repository.drop(repository.alice, name)
                await channel.send(Handed((drop,)), [fd])
                os.close(fd)
            while True:
                await channel.receive()
    assert importers.exit_code == -signal.SIGKILL


def poisoned(directory: Path) -> tuple[subprocess.Popen[bytes], Channel]:
    """Start an importer that dies when it hashes a file called poison."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "tests.helpers.poisoned_importer", "--fd", str(theirs.fileno()), directory]
        return subprocess.Popen(command, pass_fds=[theirs.fileno()]), Channel(ours)


class Mount:
    """An inbox.Source with these drops."""

    def __init__(self, repository: Repository, *names: bytes) -> None:
        self._repository = repository
        self._names = names
        self.last: dict[bytes, Outcome] = {}
        self.heard: list[News] = []
        self.changed = trio.Event()

    def drop_all(self, inbox: Inbox) -> None:
        for token in range(len(self._names)):
            inbox.dropped(token, self._repository.alice, 0.0)

    def claim(self, token: int) -> tuple[Drop, int] | None:
        drop, fd = self._repository.drop(self._repository.alice, self._names[token])
        return Drop(token, *(getattr(drop, name) for name in list(Drop.__slots__)[1:])), fd

    def outcome(self, outcome: Outcome) -> None:
        self.last[self._names[outcome.token]] = outcome
        self.changed.set()
        self.changed = trio.Event()

    def marked(self, inodes: Sequence[int]) -> None:
        raise AssertionError(inodes)

    def hear(self, news: Sequence[News]) -> None:
        self.heard += news

    async def wait_rest(self) -> None:
        """Wait until every drop has an outcome that is not settling."""
        while len([one for one in self.last.values() if one.state is not State.SETTLING]) < len(self._names):
            await self.changed.wait()


async def nobody(_people: People) -> None:
    """Adopt nobody: no mount asks here who somebody is."""


async def imported_by(
    start: Callable[[], AbstractAsyncContextManager[tuple[Channel, People]]], repository: Repository, *names: bytes
) -> dict[bytes, Outcome]:
    mount = Mount(repository, *names)
    inbox = Inbox(mount, start, nobody, mount.hear, Health(), Accountant())
    with trio.fail_after(240):  # of four lives, each of which loads all that an importer needs
        async with trio.open_nursery() as nursery:
            await nursery.start(inbox.run)
            mount.drop_all(inbox)
            await mount.wait_rest()
            inbox.stop()
    return mount.last


@pytest.mark.parametrize("drop", [b"a.zarr", b"scan.tif"])
@pytest.mark.parametrize("step", IN_IMPORT)
async def test_killed_at_any_step_of_an_import(
    importers: PreparedImporters, repository: Repository, step: Step, drop: bytes
) -> None:
    paths = [repository.write(repository.alice, name, name) for name in NAMES if name.startswith(drop)]
    await killed_at(step, importers, repository, drop)
    recover(repository.layout, repository.engine)
    recover(repository.layout, repository.engine)
    for path in paths:
        name = os.fsencode(path.relative_to(repository.path(repository.alice, b"")))
        if step in COMMITTED:
            repository.check_whole(path, name)
        else:
            assert isinstance(repository.check_untouched(path, name), Closed)
    again = await imported_by(partial(importers.start, repository.layout.root), repository, drop)
    assert again[drop].state is State.IMPORTED
    for path in paths:
        repository.check_whole(path, os.fsencode(path.relative_to(repository.path(repository.alice, b""))))
    assert len(repository.originals()) == len(paths)


async def test_a_file_that_has_lost_bytes_since_it_was_hashed_is_no_drop_again(
    importers: PreparedImporters, repository: Repository
) -> None:
    path = repository.write(repository.alice, b"scan.tif", b"pixels")
    before = path.stat()
    await killed_at(Step.FILE_MARKED, importers, repository, b"scan.tif")
    os.truncate(path, 3)  # as a power cut leaves it: its mark was on the disk before all of its bytes
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    recover(repository.layout, repository.engine)
    assert repository.check_untouched(path, b"pix") is None


@pytest.mark.parametrize("step", IN_RECOVERY)
async def test_killed_during_recovery(importers: PreparedImporters, repository: Repository, step: Step) -> None:
    path = repository.write(repository.alice, b"scan.tif")
    await killed_at(Step.FILE_MARKED, importers, repository, b"scan.tif")
    with pytest.raises(DaemonUnreachable):
        async with importers.start(repository.layout.root, step):
            raise AssertionError("it was to be killed before it was ready")
    assert importers.exit_code == -signal.SIGKILL
    recover(repository.layout, repository.engine)
    assert isinstance(repository.check_untouched(path), Closed)


async def test_neighbours_of_a_death_are_untouched(importers: PreparedImporters, repository: Repository) -> None:
    whole = repository.write(repository.alice, b"whole.tif")
    await imported_by(partial(importers.start, repository.layout.root), repository, b"whole.tif")
    repository.write(repository.alice, b"scan.tif")
    await killed_at(Step.FILE_MARKED, importers, repository, b"scan.tif")
    recover(repository.layout, repository.engine)
    repository.check_whole(whole)


async def test_what_three_deaths_have_interrupted_has_not_failed(
    importers: PreparedImporters, repository: Repository
) -> None:
    """As when the power goes three times: each time many are in hand, and nothing is wrong with any."""
    names = [b"%d.bin" % number for number in range(40)]
    for name in names:
        repository.write(repository.alice, name, name)
    for _ in range(3):
        await killed_at(Step.RESERVED, importers, repository, *names)
    outcomes = await imported_by(partial(importers.start, repository.layout.root), repository, *names)
    assert {outcome.state for outcome in outcomes.values()} == {State.IMPORTED}


@pytest.mark.timeout(300)
async def test_the_third_death_on_one_file_makes_it_failed_and_no_other(
    importers: PreparedImporters, repository: Repository
) -> None:
    names = [b"%d.bin" % number for number in range(10)]
    others = [repository.write(repository.alice, name, name) for name in names]
    poison = repository.write(repository.alice, b"poison")
    lives = 0

    @asynccontextmanager
    async def start() -> AsyncIterator[tuple[Channel, People]]:
        nonlocal lives
        lives += 1
        process, channel = poisoned(repository.layout.root)
        try:
            yield channel, await wait_ready(channel)
        finally:
            channel.close()
            process.kill()
            process.wait()

    outcomes = await imported_by(start, repository, *names, b"poison")
    assert outcomes.pop(b"poison").state is State.FAILED
    assert {outcome.state for outcome in outcomes.values()} == {State.IMPORTED}
    assert lives == 4
    mark = repository.mark(poison)
    assert isinstance(mark, Refused)
    assert "died 3 times" in mark.error
    for path, name in zip(others, names, strict=True):
        repository.check_whole(path, name)
    retried = await imported_by(partial(importers.start, repository.layout.root), repository, b"poison")
    assert retried[b"poison"].state is State.IMPORTED


async def test_what_recovery_costs_does_not_grow_with_the_repository(repository: Repository) -> None:
    with repository.engine.begin() as conn:
        plan = conn.exec_driver_sql("EXPLAIN QUERY PLAN SELECT * FROM imports WHERE state = 'importing'").all()
    assert "ix_imports_unfinished" in str(plan)
    assert recover(repository.layout, repository.engine) == {}
    with repository.engine.begin() as conn:
        assert imports.unfinished(conn) == []


async def test_questions_are_answered_by_the_real_process(importers: PreparedImporters, repository: Repository) -> None:
    repository.write(repository.alice, b"scan.tif")
    mount = Mount(repository, b"scan.tif")
    inbox = Inbox(mount, partial(importers.start, repository.layout.root), nobody, mount.hear, Health(), Accountant())
    with trio.fail_after(240):  # of four lives, each of which loads all that an importer needs
        async with trio.open_nursery() as nursery:
            await nursery.start(inbox.run)
            mount.drop_all(inbox)
            await mount.wait_rest()
            fileset = mount.last[b"scan.tif"].fileset
            assert f'"Fileset:{fileset}"' in await inbox.questions.ask(f"Fileset:{fileset}")
            with pytest.raises(NotFound):
                await inbox.questions.ask("Image:99")
            inbox.stop()


async def test_a_repository_that_cannot_be_opened_says_why(repository: Repository) -> None:
    repository.layout.settings.write_text("[imports]\nparalel = 3\n")
    with pytest.raises(DaemonUnreachable, match=r"imports\.paralel is not a setting"):
        async with importer_process(repository.layout.root):
            raise AssertionError("it was to refuse")


async def test_the_process_ends_when_the_daemon_is_gone(repository: Repository) -> None:
    async with importer_process(repository.layout.root) as (channel, _people):
        children = trio.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        [pid] = [int(one) for one in (await children.read_text()).split() if is_importer(int(one))]
        process = os.pidfd_open(pid)
        channel.close()
        with trio.fail_after(10):
            await trio.lowlevel.wait_readable(process)
        os.close(process)


def is_importer(pid: int) -> bool:
    return b"-m\0repofs.importer\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
