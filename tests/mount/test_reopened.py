"""Who has opened an original opens it again without the daemon's Python; what has changed is decided anew."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.kernel import resident_bytes
from repofs.fuse import native
from repofs.lifecycle import State
from repofs.model import Original
from repofs.repository.layout import load_key
from repofs.repository.marks import Marks
from tests.helpers.administered import Administered, administered
from tests.helpers.companion import Companion, answer, companion
from tests.helpers.drops import drop
from tests.helpers.mounting import PASSTHROUGH
from tests.helpers.people import Person
from tests.helpers.processes import descendants
from tests.helpers.waiting import until

LAB = 61000
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)
CONTENT = b"what the microscope saw\n" * 1000
OLD_SECONDS = 0.2  # after which a file counts as unchanged

pytestmark = [
    pytest.mark.skipif(native is None, reason="the native module was not built"),
    pytest.mark.skipif(PASSTHROUGH == "always", reason="the kernel reads the smallest original by itself"),
]


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    def populate(drive: Administered) -> None:
        drive.add_group("lab", LAB, "read-only")
        for person in (ALICE, BOB):
            drive.add_user(person, "lab")

    with administered(populate) as drive:
        yield drive


@pytest.fixture
def original(drive: Administered, tmp_path: Path) -> Path:
    """Of Alice's, opened once by her and by Bob."""
    path = drop(ALICE, drive.home(ALICE) / f"{tmp_path.name}.bin", CONTENT)
    drive.wait_imported(path)
    time.sleep(OLD_SECONDS)
    for person in (ALICE, BOB):
        person.do(path.read_bytes)
    return path


def opened_again(drive: Administered, person: Person, path: Path) -> bool:
    """Whether the native module answers when *person* opens the file."""
    behind = drive.backing(path)
    with companion(person) as she:
        fd = she.do(os.open, path, os.O_RDONLY)
        flags = flags_of(drive, behind)
        she.do(os.close, fd)
    assert len(flags) == 1
    until(lambda: not flags_of(drive, behind), "its end heard of")
    return bool(flags[0] & os.O_NONBLOCK)  # by which the module opens, and nobody else


def flags_of(drive: Administered, behind: Path) -> list[int]:
    """Return the flags of the daemon's descriptors of a backing file."""
    found = []
    for pid in descendants(drive.process.pid):
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if fd.samefile(behind):
                    info = Path(f"/proc/{pid}/fdinfo/{fd.name}").read_text()
                    found += [int(line.split()[1], 8) for line in info.splitlines() if line.startswith("flags:")]
            except FileNotFoundError:
                continue  # closed meanwhile
    return found


def test_each_opens_again_what_she_has_opened(drive: Administered, original: Path) -> None:
    assert opened_again(drive, ALICE, original) and opened_again(drive, BOB, original)
    another = drop(ALICE, original.with_name("another.bin"), b"another")
    drive.wait_imported(another)
    time.sleep(OLD_SECONDS)
    assert not opened_again(drive, ALICE, another), "the first time"
    assert opened_again(drive, ALICE, another)
    assert not opened_again(drive, BOB, another), "the first time for Bob"
    assert opened_again(drive, BOB, another)


def test_it_is_a_file_like_any(original: Path) -> None:
    def look() -> None:
        for _ in range(300):  # more than are answered in a row
            with open(original, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # read anew, by the daemon
                assert file.read() == CONTENT
                assert os.pread(file.fileno(), 24, len(CONTENT) - 24) == CONTENT[-24:]
                assert os.pread(file.fileno(), 24, len(CONTENT)) == b""
                assert os.fstat(file.fileno()).st_size == len(CONTENT)
                os.fsync(file.fileno())
                os.fdatasync(file.fileno())
                os.close(os.dup(file.fileno()))
                with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
                    assert pages[:] == CONTENT

    ALICE.do(look)


def test_what_would_change_it_is_refused_as_ever(original: Path) -> None:
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC):
        assert ALICE.do(answer, os.open, original, flags) == "EPERM"
    assert original.read_bytes() == CONTENT


def test_a_drop_is_asked_about_each_time(drive: Administered, original: Path) -> None:
    """It may be written, and may become another file by the time it is imported."""
    path = drop(ALICE, original.with_name(".hidden.bin"))
    time.sleep(OLD_SECONDS)
    for _ in range(3):
        assert not opened_again(drive, ALICE, path)


def test_a_change_is_heeded(drive: Administered, original: Path) -> None:
    """Whatever it is of: here an attribute, then a name."""
    ALICE.do(os.setxattr, original, "user.note", b"seen")
    assert not opened_again(drive, BOB, original)
    time.sleep(OLD_SECONDS)
    BOB.do(original.read_bytes)
    assert opened_again(drive, BOB, original)
    renamed = original.with_suffix(".renamed")
    ALICE.do(os.rename, original, renamed)
    assert not opened_again(drive, BOB, renamed)


def test_another_file_in_its_place_is_not_taken_for_it(drive: Administered, original: Path) -> None:
    """Behind the mount's back: the kernel, told that its file is not there any more, looks the name up anew."""
    behind = drive.backing(original)
    kept = behind.with_name(".kept")
    os.rename(behind, kept)
    behind.write_bytes(b"another")
    try:
        assert ALICE.do(original.read_bytes) == b"another"
    finally:
        os.rename(kept, behind)
    assert ALICE.do(original.read_bytes) == CONTENT


def test_people_and_levels_that_change_are_heeded(drive: Administered, original: Path) -> None:
    """Nothing of that is written on the file."""
    drive.set_permissions("lab", "private")
    try:
        assert BOB.do(answer, os.open, original, os.O_RDONLY) == "EACCES"
        assert not opened_again(drive, ALICE, original)
        assert opened_again(drive, ALICE, original)
    finally:
        drive.set_permissions("lab", "read-only")
    assert not opened_again(drive, BOB, original)


def state_of(bob: Companion, fd: int) -> tuple[int, bytes, bytes]:
    size = bob.do(os.fstat, fd).st_size
    bob.do(os.posix_fadvise, fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return size, bob.do(os.pread, fd, 24, 0), bob.do(os.pread, fd, 24, len(CONTENT) - 24)


def test_who_has_it_open_goes_on_when_it_is_deleted_and_when_it_comes_back(drive: Administered, original: Path) -> None:
    fileset = drive.show(original)["fileset"]
    with companion(BOB) as bob:
        fd = bob.do(os.open, original, os.O_RDONLY)
        assert flags_of(drive, drive.backing(original))[0] & os.O_NONBLOCK
        drive.command("delete", fileset)
        until(lambda: not original.exists(), "its name gone")
        drive.command("trash", "restore", fileset)
        assert original.name in ALICE.do(os.listdir, original.parent) and ALICE.do(original.read_bytes) == CONTENT
        assert state_of(bob, fd) == (len(CONTENT), CONTENT[:24], CONTENT[-24:])
        drive.command("delete", fileset)
        until(lambda: not original.exists(), "its name gone")
        assert state_of(bob, fd) == (len(CONTENT), CONTENT[:24], CONTENT[-24:])
        bob.do(os.fsync, fd)
        bob.do(os.close, fd)
    drive.check()  # nothing of it is kept open


def test_what_was_found_altered_is_not_taken_for_what_it_was(drive: Administered, original: Path) -> None:
    """By who verifies, and has not come to tell the mount: it learns of it from the mark."""
    marks, behind = Marks(load_key(drive.layout)), drive.backing(original)
    mark = marks.read(os.fspath(behind))
    assert isinstance(mark, Original)
    with behind.open("rb") as file:
        marks.write(file.fileno(), replace(mark, stands=State.ALTERED))
    time.sleep(OLD_SECONDS)
    BOB.do(answer, os.open, original, os.O_RDONLY)
    assert BOB.do(answer, os.open, original, os.O_RDONLY) == "EIO"
    with behind.open("rb") as file:
        marks.write(file.fileno(), mark)


def test_what_is_remembered_has_a_bound() -> None:
    def memory_of_remembering(first: int) -> int:
        for ino in range(first, first + 400_000):
            native.remember(0, b"alice/2026-11/29/12-00-00.000/scan.ome.tif", 61001, 1, ino, 10**18)
        return resident_bytes(os.getpid())

    def remember() -> tuple[int, int, bool]:
        before = resident_bytes(os.getpid())
        once, again = memory_of_remembering(1), memory_of_remembering(10**6)
        native.forget_all()
        return once - before, again - before, native.descriptor(1) is None

    once, again, nothing_open = ALICE.do(remember)
    assert nothing_open
    assert once < 64 << 20 and again < once + (8 << 20)
