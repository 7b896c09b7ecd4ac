"""What all checks share: one repository, opened."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Concatenate, ParamSpec, TypeVar

from repofs.catalog.consistency import Kept, KeptFile
from repofs.catalog.engine import Connection, Engine
from repofs.config import Settings
from repofs.inspection.fsck.findings import Finding, Irreparable
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources
from repofs.repository.trees import opened

SECOND_LOOK_SECONDS = 1.0  # by then a change that a daemon was in the middle of is whole

P = ParamSpec("P")
T = TypeVar("T")


def _tell_nobody(what: str, done: int, total: int | None) -> None:
    return


@dataclass
class Subject:
    """*store_stands* looks for an array in a declared store: NotFound when it has gone, another OSError when nobody
    can tell.

    *recover* finishes and undoes what imports have left, as a start does.
    """

    layout: Layout
    settings: Settings
    reader: Engine
    writer: Engine | None  # None: nothing is repaired
    store_stands: Callable[[str, bytes], None]
    recover: Callable[[], object]
    live: bool = False  # a daemon is at work in it
    tell: Callable[[str, int, int | None], None] = _tell_nobody
    stand_ins: array[int] = field(default_factory=lambda: array("Q"))  # inodes of those that may have a link behind
    highest: dict[str, int] = field(default_factory=dict)  # ids on marks, by kind
    named_logs: set[bytes] = field(default_factory=set)  # logs of failures that something names, below the mount
    found_elsewhere: set[int] = field(default_factory=set)  # originals that are not in their place, and found

    @cached_property
    def marks(self) -> Marks:
        return Marks(load_key(self.layout))

    @cached_property
    def sources(self) -> Sources:
        return Sources(self.settings.declared_sources(), self.layout.root)

    @cached_property
    def managed(self) -> bytes:
        return os.fsencode(self.layout.managed)

    def path(self, below: bytes) -> bytes:
        """Return where *below* the mount lies."""
        return os.path.join(self.managed, below)

    def ask(self, question: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """Return the answer of the catalogue as it is now."""
        with self.reader.begin() as conn:
            return question(conn, *args, **more)

    def write(self, act: Callable[Concatenate[Connection, P], T], *args: P.args, **more: P.kwargs) -> T:
        """Change the catalogue."""
        if self.writer is None:
            raise Irreparable("the catalogue is open for reading only")
        with self.writer.begin() as conn:
            return act(conn, *args, **more)

    def user_directories(self) -> list[bytes]:
        """Return the user directories in the tree, by name."""
        with os.scandir(self.managed) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in names if not name.startswith(b"."))

    def owner(self, user_directory: bytes) -> int:
        """Return the uid to whom all in a user directory belongs. Raises FileNotFoundError."""
        return os.stat(self.path(user_directory)).st_uid

    def twice(self, look: Callable[[], list[Finding]]) -> list[Finding]:
        """Return what *look* finds, beside a daemon only what it finds a second time, too."""
        found = look()
        if not found or not self.live:
            return found
        time.sleep(SECOND_LOOK_SECONDS)
        before = {(one.code, one.where) for one in found}
        return [one for one in look() if (one.code, one.where) in before]


@contextmanager
def in_directory(subject: Subject, fileset: Kept) -> Iterator[int]:
    """Lend a descriptor of the import directory of *fileset*. Raises OSError."""
    with opened(subject.path(fileset.path)) as fd:
        yield fd


@contextmanager
def reached(subject: Subject, file: KeptFile) -> Iterator[bytes]:
    """Lend a path by which the file is reached, however deep it lies. Raises OSError."""
    with in_directory(subject, file.fileset) as fd:
        yield by_descriptor(fd, file.name)


def by_descriptor(directory: int, name: bytes) -> bytes:
    """Return a path of *name* in the directory of that descriptor."""
    return b"/proc/self/fd/%d/%s" % (directory, name)
