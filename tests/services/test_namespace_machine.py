"""The namespace beside plain system calls: the same operations on both, the same names, contents, links and modes.

One side is a namespace on one directory, with the kernel's lookups and forgets played by the test; the other side is
os on another directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from repofs.lifecycle import State
from repofs.model import Closed, Outcome, Refused
from repofs.namespace import inode_table
from repofs.namespace.backing import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from repofs.namespace.request import Change
from tests.helpers.namespace import ALICE, World

NAMES = ("a", "b", "dir", "z.zarr", "t.tiledb", ".part")
paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
contents = st.binary(min_size=1, max_size=8)
modes = st.sampled_from([0o600, 0o644, 0o755, 0o400])


@dataclass
class Both:
    """One open file on both sides."""

    fh: int
    fd: int


class NamespaceMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.w = World(self.directory / "repository")
        self.plain = self.directory / "plain"
        self.plain.mkdir()
        self.plain.chmod(0o755)
        self.open: list[Both] = []

    def teardown(self) -> None:
        for both in self.open:
            self.w.close(both.fh)
            os.close(both.fd)
        for token in list(self.w.clocks.running):
            self.finish(token)
        while self.w.drops.rescans.statistics().current_buffer_used:
            directory = self.w.drops.rescans.receive_nowait()
            self.w.journal.let_go(self.w.drops.to_rescan.pop(directory))
        for node in list(self.w.table.root.below()):
            if node.activity is not None:  # the log of what waits for another name
                self.w.drops.end(node)
        self.w.forget_all()
        try:
            assert len(self.w.handles) == 0
            assert len(self.w.table) == 1, [node.names for node in self.w.table.root.below()]
            assert not self.w.standing.sealed
        finally:
            self.w.journal.close()
            self.w.backing.close()
            shutil.rmtree(self.directory)

    def finish(self, token: int) -> None:
        """Let a clock go off, and be done with its import: it is refused, so that the file can still be written."""
        drop = self.w.claim_token(token)
        if drop is None:
            return
        for node in self.w.standing.sealed[token].below():
            mark = self.w.standing.mark(node)
            if isinstance(mark, Closed):
                refused = Refused(mark.size, mark.mtime_ns, State.FAILED, "refused", "log")
                self.w.marks.write(self.w.backing.target(node), refused)
        self.w.claims.outcome(Outcome(token, State.FAILED, "refused"))

    def both(self, namespace: Callable[[], object], plain: Callable[[], object]) -> tuple[object, object] | None:
        """Do the same on both sides; None when both refuse it, for the same reason."""
        refusals: list[int | None] = []
        answers: list[object] = []
        for act in (namespace, plain):
            try:
                answers.append(act())
                refusals.append(None)
            except OSError as error:
                answers.append(None)
                refusals.append(error.errno)
        assert refusals[0] == refusals[1], [errno.errorcode.get(one or 0) for one in refusals]
        return None if refusals[0] else (answers[0], answers[1])

    # --- what programs do -------------------------------------------------------------------------

    @rule(path=paths, content=contents, mode=modes)
    def create(self, path: str, content: bytes, mode: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL

        def plain() -> int:
            before = os.umask(0o022)
            try:
                return os.open(self.plain / path, flags, mode)
            finally:
                os.umask(before)

        made = self.both(lambda: self.w.create(path, mode), plain)
        if made is not None:
            both = Both(*made)  # type: ignore[arg-type]
            self.open.append(both)
            self.w.handles.write(both.fh, 0, content)
            os.pwrite(both.fd, content, 0)

    @rule(
        path=paths, flags=st.sampled_from([os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC])
    )
    def open_file(self, path: str, flags: int) -> None:
        if (self.plain / path).is_dir():
            return  # the kernel asks otherwise
        opened = self.both(lambda: self.w.open(path, flags), lambda: os.open(self.plain / path, flags))
        if opened is not None:
            self.open.append(Both(*opened))  # type: ignore[arg-type]

    @rule(number=st.integers(0, 10), offset=st.integers(0, 20), content=contents)
    def write(self, number: int, offset: int, content: bytes) -> None:
        writable = [one for one in self.open if _may_write(one.fd)]
        if writable:
            both = writable[number % len(writable)]
            self.w.handles.write(both.fh, offset, content)
            os.pwrite(both.fd, content, offset)

    @rule(number=st.integers(0, 10))
    def close(self, number: int) -> None:
        if self.open:
            both = self.open.pop(number % len(self.open))
            self.w.close(both.fh)
            os.close(both.fd)

    @rule(path=paths)
    def mkdir(self, path: str) -> None:
        self.both(lambda: self.w.mkdir(path), lambda: self.plain.joinpath(path).mkdir(0o755))

    @rule(path=paths)
    def unlink(self, path: str) -> None:
        self.both(lambda: self.w.unlink(path), lambda: os.unlink(self.plain / path))

    @rule(path=paths)
    def rmdir(self, path: str) -> None:
        self.both(lambda: self.w.tree.rmdir(*self.w.place(path), self.w.caller), lambda: os.rmdir(self.plain / path))

    @rule(old=paths, new=paths, flags=st.sampled_from([0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]))
    def rename(self, old: str, new: str, flags: int) -> None:
        def plain() -> None:
            for path in (old, new):  # the kernel looks the directories up first
                os.stat((self.plain / path).parent)
            names = os.fsencode(self.plain / old), os.fsencode(self.plain / new)
            renameat2(-100, names[0], -100, names[1], flags)

        self.both(lambda: self.w.rename(old, new, flags), plain)

    @rule(old=paths, new=paths)
    def link(self, old: str, new: str) -> None:
        if not (self.plain / old).is_dir():
            self.both(lambda: self.w.link(old, new), lambda: os.link(self.plain / old, self.plain / new))

    @rule(path=paths, mode=modes)
    def chmod(self, path: str, mode: int) -> None:
        mode |= 0o700 if (self.plain / path).is_dir() else 0
        self.both(lambda: self.w.change(path, Change(mode=mode)), lambda: os.chmod(self.plain / path, mode))

    @rule(path=paths, size=st.integers(0, 30))
    def truncate(self, path: str, size: int) -> None:
        if not (self.plain / path).is_dir():
            self.both(lambda: self.w.change(path, Change(size=size)), lambda: os.truncate(self.plain / path, size))

    @rule(path=paths)
    def utime(self, path: str) -> None:
        self.both(
            lambda: self.w.change(path, Change(atime_ns=1, mtime_ns=1)),
            lambda: os.utime(self.plain / path, ns=(1, 1)),
        )

    # --- what happens meanwhile -------------------------------------------------------------------

    @rule()
    def forget(self) -> None:
        """The kernel lets go of all but what is open: it refers to those still."""
        self.w.forget_all()

    @rule(number=st.integers(0, 10))
    def quiet(self, number: int) -> None:
        running = list(self.w.clocks.running)
        if running:
            self.finish(running[number % len(running)])

    # --- the same on both sides -------------------------------------------------------------------

    @invariant()
    def same(self) -> None:
        assert seen_plainly(self.plain) == seen_plainly(self.w.layout.managed / ALICE)
        assert self.seen_through() == seen_plainly(self.plain)

    @invariant()
    def open_files_are_the_same(self) -> None:
        for both in self.open:
            assert bytes_of(both.fh) == bytes_of(both.fd)
            assert os.fstat(both.fh).st_nlink == os.fstat(both.fd).st_nlink

    @invariant()
    def a_clock_runs_where_the_state_says_so(self) -> None:
        if self.w.drops.rescans.statistics().current_buffer_used:
            return  # soon
        for node in self.w.table.root.below():
            stands = self.w.standing.state(node) if node.is_file else None
            if stands is None or stands[0] is not State.SETTLING:
                continue
            unit = self.w.standing.names.unit(node)
            assert unit is not None
            writers = any(one.activity is not None and one.activity.writers for one in unit.below())
            assert writers or unit.ino in self.w.clocks.running, node.names

    def seen_through(self) -> dict[str, tuple[int, int, bytes | None]]:
        """Return what the namespace shows below alice's directory."""
        found: dict[str, tuple[int, int, bytes | None]] = {}
        pending = [""]
        while pending:
            above = pending.pop()
            for name in os.listdir(self.w.path(above)):
                path = f"{above}/{name}".lstrip("/")
                node = self.w.node(path)
                status = self.w.backing.status(node)
                content = None
                if node.is_directory:
                    pending.append(path)
                else:
                    fd = self.w.backing.open(node, os.O_RDONLY)
                    content = os.pread(fd, 100, 0)
                    os.close(fd)
                found[path] = (status.st_mode, status.st_nlink, content)
        return found


def _may_write(fd: int) -> bool:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def bytes_of(fd: int) -> bytes:
    """Return the bytes of an open file, however it is open."""
    with open(f"/proc/self/fd/{fd}", "rb") as file:
        return file.read()


def seen_plainly(top: Path) -> dict[str, tuple[int, int, bytes | None]]:
    """Return mode, link count and content of everything below *top*."""
    found = {}
    for path in top.rglob("*"):
        status = path.lstat()
        with contextlib.suppress(FileNotFoundError):
            content = None if stat.S_ISDIR(status.st_mode) else path.read_bytes()
            found[str(path.relative_to(top))] = (status.st_mode, status.st_nlink, content)
    return found


class PackingMachine(NamespaceMachine):
    """The same where each file is packed once another is asked about, and listings refer to files that have no node."""

    def __init__(self) -> None:
        self.kept, inode_table.KEPT_NODES = inode_table.KEPT_NODES, 0
        super().__init__()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            inode_table.KEPT_NODES = self.kept

    @rule()
    def walk(self) -> None:
        top = self.w.path("")
        for path in top.rglob("*"):
            if path.is_file():
                self.w.list(str(path.relative_to(top)))


NamespaceMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
PackingMachine.TestCase.settings = NamespaceMachine.TestCase.settings
TestNamespace = NamespaceMachine.TestCase
TestPacking = PackingMachine.TestCase
