"""Imports by an importer process whose calls fail, in a repository that has a source: one at a time, each checked.

The mount is a fake one. What an import may come to, and what must be so whatever it comes to, is said here.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from repofs.catalog.origins import DONE, DUE
from repofs.events import News
from repofs.health import Health
from repofs.importer.inbox import Inbox, StartImporter
from repofs.importer.wire import Channel
from repofs.lifecycle import State
from repofs.model import Drop, Duplicates, Event, Origin, Original, Outcome, Policy
from repofs.people import People
from repofs.repository import stand_ins
from repofs.repository.marks import ORIGINAL_BIT
from repofs.repository.outside import identity_of
from repofs.threads import in_thread
from tests.helpers.importing import Repository
from tests.helpers.inbox import Accountant
from tests.helpers.waiting import until

ME = os.getuid()
FINAL = (State.IMPORTED, State.FAILED)
PATIENCE_SECONDS = 30.0
SETTINGS = """
[readers]
workers = 1
[[sources]]
name = "scope1"
path = "{source}"
"""
POLICY = Policy(0.05, Duplicates.IMPORT)


@dataclass
class Case:
    """One fileset to be imported: its files, what the mount hands over, and its source, if it comes from outside."""

    path: bytes  # below alice
    files: dict[Path, bytes]  # path in the backing tree: the bytes that it must have once imported
    is_directory: bool = False
    members: tuple[bytes, ...] | None = None
    transfer: str = "upload"
    source: Path | None = None
    content: bytes = b""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def in_place(self) -> bool:
        return self.transfer.startswith("ln")


class Imports:
    """An inbox.Source over a repository, and what becomes of the cases that it drops."""

    def __init__(self, repository: Repository, source: Path, start: StartImporter) -> None:
        self.repository = repository
        self._start_importer = start
        self._source = source
        self._numbers = itertools.count(1)
        self._cases: dict[int, Case] = {}
        self._changed = trio.Event()

    @classmethod
    def make(cls, place: Path, start: Callable[[Path], AbstractAsyncContextManager[tuple[Channel, People]]]) -> Imports:
        """Have a repository in the directory *place*, whose importers *start* starts."""
        source = place / "scope1"
        source.mkdir()
        repository = Repository.make(place / "repository")
        repository.layout.settings.write_text(SETTINGS.format(source=source))
        return cls(repository, source, partial(start, repository.layout.root))

    # --- the Source of the inbox -----------------------------------------------------------------

    def claim(self, token: int) -> tuple[Drop, int] | None:
        case = self._cases[token]
        if self.is_imported(case):  # by an importer that died before it could say so
            self.outcome(Outcome(token, State.IMPORTED))
            return None
        events = (Event(1_000_000_000, "created by uid 0, cp"),)
        drop = Drop(
            token, self.repository.alice, case.path, case.is_directory, None, POLICY, events, ME, "me", os.getgid(),
            case.transfer, case.members,
        )  # fmt: skip
        path = os.path.dirname(case.path) if case.members else case.path
        return drop, os.open(self.repository.path(self.repository.alice, path), os.O_RDONLY)

    def outcome(self, outcome: Outcome) -> None:
        self._cases[outcome.token].outcomes.append(outcome)
        self._wake()

    def marked(self, inodes: Sequence[int]) -> None:
        return

    def hear(self, news: Sequence[News]) -> None:
        return

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have an importer process for the time of the context."""
        async with trio.open_nursery() as self._nursery:
            await self._start()
            yield
            await self._stop()

    async def restart(self) -> None:
        """Mount again, so to say: after a failure of the disk nothing is written before that."""
        await self._stop()
        await self._start()

    async def _start(self) -> None:
        async def adopt(_people: People) -> None:
            return

        self.health, self._ended = Health(), trio.Event()
        self.inbox = Inbox(self, self._start_importer, adopt, self.hear, self.health, Accountant())
        self.health.on_failure(lambda _: self._wake())
        await self._nursery.start(self._run)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self.inbox.run(task_status=task_status)
        finally:
            self._ended.set()

    async def _stop(self) -> None:
        self.inbox.stop()
        await self._ended.wait()

    # --- cases -----------------------------------------------------------------------------------

    def plain(self) -> Case:
        """One file."""
        name, content = self._new("bin")
        return Case(name, {self.repository.write(self.repository.alice, name, content): content})

    def directory(self) -> Case:
        """A directory that is one drop."""
        name, content = self._new("zarr")
        files = {name + b"/" + below: content + below for below in (b".zgroup", b"0/0.0", b"0/0.1")}
        return Case(name, self._written(files), is_directory=True)

    def fileset(self) -> Case:
        """Three files that are imported together."""
        name, content = self._new("companion")
        names = (name, name + b".1", name + b".2")
        members = tuple(map(os.path.basename, names))
        return Case(name, self._written({one: content + one for one in names}), members=members)

    def linked(self, transfer: str) -> Case:
        """A stand-in of a file in the source."""
        name, content = self._new("tif")
        source = self._source / os.fsdecode(name).replace("/", "-")
        source.write_bytes(content)
        fd = os.open(source, os.O_RDONLY)
        origin = Origin("scope1", source.name, identity_of(fd), transfer)
        os.close(fd)
        path = self.repository.path(self.repository.alice, name)
        path.parent.mkdir(exist_ok=True)
        directory = os.open(path.parent, os.O_RDONLY)
        marks = self.repository.marks
        stand_ins.make(directory, os.path.basename(name), origin, uid=ME, gid=os.getgid(), actor_uid=ME, marks=marks)
        os.close(directory)
        case = Case(name, {}, transfer=transfer, source=source, content=content)
        case.files[path] = bytes(len(content)) if case.in_place else content
        return case

    def _new(self, suffix: str) -> tuple[bytes, bytes]:
        number = next(self._numbers)
        return b"%d/scan.%s" % (number, suffix.encode()), b"pixels of %d," % number * 40

    def _written(self, files: dict[bytes, bytes]) -> dict[Path, bytes]:
        return {self.repository.write(self.repository.alice, name, content): content for name, content in files.items()}

    # --- the life of one -------------------------------------------------------------------------

    def drop(self, case: Case) -> None:
        """Let *case* be imported, once more if it has failed."""
        token = next((token for token, one in self._cases.items() if one is case), len(self._cases) + 1)
        self._cases[token] = case
        self.inbox.dropped(token, self.repository.alice, POLICY.settle_seconds)

    def is_imported(self, case: Case) -> bool:
        """Whether the files of *case* are originals."""
        return all(isinstance(self.repository.mark(path), Original) for path in case.files)

    async def ended(self, case: Case, seconds: float = PATIENCE_SECONDS) -> Outcome | None:
        """Wait until *case* has an outcome that is not soon another one, and return it: imported, failed, settling for
        longer because of a full disk, or undecided. None: not in that time, or the disk is taken for failed."""
        with trio.move_on_after(seconds):
            while self.health.failure is None:
                last = case.outcomes[-1] if case.outcomes else None
                if last and (last.state in FINAL or last.again_seconds is not None or last.undecided):
                    return last
                await self._changed.wait()
        return None

    async def removed(self, case: Case) -> None:
        """Wait until the source of *case* is removed, or kept, if its transfer removes it."""
        if case.source is not None:
            await in_thread(until, lambda: self._removal(case) != DUE, "an end of its removal")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # --- what must be so -------------------------------------------------------------------------

    def check_kept(self, case: Case) -> None:
        """Nothing of *case* is lost, nothing of it is seen as imported."""
        for path, content in case.files.items():
            now = path.read_bytes()
            assert now == (bytes(len(content)) if case.source else content), path
            assert not isinstance(self.repository.mark(path), Original), f"{path} is marked as an original"
            assert not path.stat().st_mode & ORIGINAL_BIT
        if case.source is not None:
            assert case.source.read_bytes() == case.content
        assert self._catalogued(case) == []
        self.check_tree()

    def check_imported(self, case: Case) -> None:
        """All of *case* is whole: tree, marks, catalogue, log; its source is where its transfer leaves it."""
        rows = self._catalogued(case)
        assert len(rows) == len(case.files), f"{len(rows)} originals of {len(case.files)} files"
        for path, content in case.files.items():
            mark = self.repository.mark(path)
            assert isinstance(mark, Original) and path.stat().st_mode & ORIGINAL_BIT
            assert path.read_bytes() == content
            directory = self.repository.layout.managed / mark.user_directory / mark.import_directory
            assert (directory / mark.name).samefile(path)
            assert directory.with_name(directory.name + ".log").read_text()
            [row] = [row for row in rows if row["original"] == f"OriginalFile:{mark.original}"]
            digest = hashlib.sha1(case.content or content).hexdigest()
            assert row["checksum"] == mark.checksum == f"SHA1-160:{digest}"
        self._check_source(case)
        self.check_tree()

    def _check_source(self, case: Case) -> None:
        if case.source is None:
            return
        kept = self._removal(case) != DONE
        assert case.source.exists() == kept, self._removal(case)
        if kept:
            assert case.source.read_bytes() == case.content
        if case.in_place and case.transfer != "ln_s":
            [path] = case.files
            assert (self.repository.layout.linked / str(path.stat().st_ino)).read_bytes() == case.content

    def _removal(self, case: Case) -> str | None:
        """Return what the catalogue says of the removal of the source: due, done, or why it was kept."""
        assert case.source is not None
        with self.repository.engine.begin() as conn:
            query = "SELECT removal FROM origins WHERE path = ?"
            [row] = conn.exec_driver_sql(query, (os.fsencode(case.source.name),)).all()
            return None if row[0] is None else str(row[0])

    def check_tree(self) -> None:
        """What is seen in import directories is what is catalogued, and no more."""
        managed = self.repository.layout.managed
        there = (one for month in managed.glob("*/20??-??") for one in month.rglob("*") if one.is_file())
        seen = {str(one.relative_to(managed)) for one in there}
        listed = [str(one["import_path"]) for one in self.repository.originals()]
        assert len(set(listed)) == len(listed)
        logs = {os.path.join(*Path(one).parts[:4]) + ".log" for one in listed}
        assert seen == logs | set(listed)

    def check_end(self) -> None:
        """After a start without faults nothing is left of them."""
        self.check_tree()
        self.repository.check_clean()
        with self.repository.engine.begin() as conn:
            assert [row[0] for row in conn.exec_driver_sql("PRAGMA integrity_check")] == ["ok"]

    def _catalogued(self, case: Case) -> list[dict[str, object]]:
        names = {str(path.relative_to(self.repository.layout.managed)) for path in case.files}
        return [row for row in self.repository.originals() if row["path"] in names]


Make = Callable[[Imports], Case]

KINDS: dict[str, Make] = {
    "one file": Imports.plain,
    "a directory": Imports.directory,
    "three files": Imports.fileset,
    "ln_s": lambda imports: imports.linked("ln_s"),
    "ln": lambda imports: imports.linked("ln"),
    "ln_rm": lambda imports: imports.linked("ln_rm"),
    "cp_rm": lambda imports: imports.linked("cp_rm"),
}
