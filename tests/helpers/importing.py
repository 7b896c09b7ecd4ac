"""A repository with two experimenters, drops in it, and what a whole import or no import looks like."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path

from repofs.catalog import imports, objects, users
from repofs.catalog.engine import Engine, create, open_engine
from repofs.errors import QuotaExceeded
from repofs.image import Appearance, Members, Picture, Recognised
from repofs.importer.lending import Lender
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Duplicates, Event, Mark, Original, PermissionLevel, Policy, Refused
from repofs.quotas import Held
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import ORIGINAL_BIT, Marks


class FakeReaders:
    """Says what it is told to, by name."""

    def __init__(self) -> None:
        self.answers: dict[str, Recognised | Exception] = {}
        self.filesets: dict[str, Members] = {}
        self.pictures: dict[str, Picture | Exception] = {}
        self.painted: list[tuple[str, int, bytes]] = []  # name, series, the bytes of the file

    async def look(self, name: bytes, files: Lender, user: bytes) -> Members | Recognised:
        return self.filesets.get(os.fsdecode(name)) or await self.read(name, files, user)

    async def read(self, name: bytes, files: Lender, user: bytes) -> Recognised:
        answer = self.answers.get(os.fsdecode(name), Recognised(note="no reader knows this file"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def picture(self, name: bytes, files: Lender, series: int, appearance: Appearance, user: bytes) -> Picture:
        content = b"" if name.endswith(b"/") else content_of(files.open(name))
        self.painted.append((os.fsdecode(name), series, content))
        answer = self.pictures[os.fsdecode(name)]
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeCounts:
    """Who counts bytes: remembers what it is told, and has no room for more than *room*."""

    def __init__(self, room: int | None = None) -> None:
        self.room = room
        self.told: list[Held] = []
        self.inodes: list[int] = []

    async def come(self, held: Held) -> None:
        if self.room is not None and held.coming > self.room:
            raise QuotaExceeded("the quota of user alice is 1 B")
        self.told.append(held)

    def add(self, changes: Sequence[Held], inodes: Sequence[int] = ()) -> None:
        self.told += changes
        self.inodes += inodes

    def total(self) -> Held:
        """Return all that has changed."""
        return Held(b"", 0, *(sum(column) for column in zip(*(astuple(one)[2:] for one in self.told), strict=True)))


def content_of(fd: int) -> bytes:
    """Return what the file of the descriptor holds, which is closed then."""
    with open(fd, "rb") as file:
        return file.read()


@cache
def _empty_catalogue() -> bytes:
    """An empty catalogue: making one by all migrations takes half a second."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "catalogue.sqlite"
        create(path)
        return path.read_bytes()


@dataclass
class Repository:
    layout: Layout
    engine: Engine
    marks: Marks
    users: list[bytes] = field(default_factory=list)

    @classmethod
    def make(cls, root: Path) -> Repository:
        layout = Layout.create(root, "")
        layout.catalogue.write_bytes(_empty_catalogue())
        layout.catalogue.chmod(0o600)
        engine = open_engine(layout.catalogue)
        with engine.begin() as conn:
            group = users.add_group(conn, "lab", os.getgid(), PermissionLevel.READ_ONLY)
            people = [users.add_experimenter(conn, name, 5000 + n, group.id) for n, name in enumerate(("alice", "bob"))]
        made = cls(layout, engine, Marks(load_key(layout)))
        for person in people:
            name = f"{person.user_name}_{person.id}"
            layout.make_user_directory(name, os.getuid(), os.getgid())
            made.users.append(name.encode())
        return made

    @property
    def alice(self) -> bytes:
        return self.users[0]

    @property
    def bob(self) -> bytes:
        return self.users[1]

    def path(self, user: bytes, below: bytes) -> Path:
        return self.layout.managed / os.fsdecode(user) / os.fsdecode(below)

    def write(self, user: bytes, below: bytes, content: bytes = b"pixels") -> Path:
        """Make a file that was closed well."""
        path = self.path(user, below)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.marks.write(str(path), Closed(len(content), path.stat().st_mtime_ns))
        return path

    def drop(
        self,
        user: bytes,
        below: bytes,
        *,
        target: str | None = None,
        duplicates: Duplicates = Duplicates.IMPORT,
    ) -> tuple[Drop, int]:
        """Return what the mount would hand over for the file or directory."""
        path = self.path(user, below)
        events = (Event(1_000_000_000, "created by uid 5000, cp"),)
        policy = Policy(3.0, duplicates)
        drop = Drop(path.stat().st_ino, user, below, path.is_dir(), target, policy, events, 5000, "alice", os.getegid())
        return drop, os.open(path, os.O_RDONLY)

    def mark(self, path: Path) -> Mark | None:
        return self.marks.read(str(path))

    def originals(self) -> list[dict[str, object]]:
        with self.engine.begin() as conn:
            return list(objects.originals(conn))

    def row(self, number: int) -> imports.ImportRow:
        with self.engine.begin() as conn:
            return imports.get(conn, imports.ImportId(number))

    def unfinished(self) -> list[imports.ImportRow]:
        with self.engine.begin() as conn:
            return imports.unfinished(conn)

    def import_directories(self) -> Iterator[Path]:
        """Yield everything in the user directories that lies in or beside an import directory: dirs, logs, parents."""
        for user in self.users:
            for year in (self.layout.managed / os.fsdecode(user)).glob("20??-??"):
                yield year
                yield from year.rglob("*")

    # --- what must be true -----------------------------------------------------------------------

    def check_whole(self, path: Path, content: bytes = b"pixels") -> Original:
        """The file at *path* is an original: marked, catalogued once, at its place, its log beside it, nothing left."""
        mark = self.mark(path)
        assert isinstance(mark, Original)
        assert path.stat().st_mode & ORIGINAL_BIT
        assert path.read_bytes() == content
        directory = self.layout.managed / mark.user_directory / mark.import_directory
        assert (directory / mark.name).samefile(path)
        assert directory.with_name(directory.name + ".log").read_text()
        [known] = [one for one in self.originals() if one["original"] == f"OriginalFile:{mark.original}"]
        assert known["checksum"] == mark.checksum
        assert self.row(mark.importing).state is State.IMPORTED
        self.check_clean()
        return mark

    def check_untouched(self, path: Path, content: bytes = b"pixels") -> Mark | None:
        """The file is where it was and the only thing there; return its mark."""
        assert path.read_bytes() == content
        assert path.stat().st_nlink == 1
        assert not path.stat().st_mode & ORIGINAL_BIT
        assert list(self.import_directories()) == []
        assert self.originals() == []
        self.check_clean()
        mark = self.mark(path)
        if isinstance(mark, (Closed, Refused)):
            assert (mark.size, mark.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
        return mark

    def check_clean(self) -> None:
        """Nothing is left in staging, nothing under way."""
        assert os.listdir(self.layout.staging) == []
        assert self.unfinished() == []
