"""Very many at once: writers, files in a directory, names that are looked up and forgotten, and a store that hangs.

With ``--scale 10`` it is 1,000 writers, 100,000 files, 1,000,000 lookups and a walk of 1,000,000 files.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.calls import Calls
from benchmarks.originals import Originals
from repofs.fuse import native
from repofs.lifecycle import State
from tests.helpers import kernel_caches, natively
from tests.helpers.command_line import repofs
from tests.helpers.hanging_store import hanging_store
from tests.helpers.mounting import QUICK, Drive, fact, mounted
from tests.helpers.natively import noted_drive
from tests.helpers.people import ALICE, BOB
from tests.helpers.waiting import until

Told = Callable[[str, object], None]

WRITERS = 100
KEPT_DESCRIPTORS = 50  # of directories that were used last; 1,024 at most
FILES = 10_000
LOOKUPS = 100_000
BYTES_A_NAME = 2048  # the bound of docs/reference/durability.md
WALKED, IN_ONE_DIRECTORY = 100_000, 10_000
BYTES_A_FILE = 150  # that a walk leaves, with listings and what Python keeps for later
WALKED_BYTES = 200_000_000  # the bound of docs/reference/durability.md for 1,000,000
OPENED = 40_000
FORGOTTEN_BYTES = 32 << 20  # that the daemon may keep when all is forgotten: Python gives memory back in pieces
PATIENCE = QUICK + '\n[mount]\npatience_seconds = 2\n[[sources]]\nname = "store"\npath = "@outside@/store"\n'


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    with mounted(QUICK) as drive:
        yield drive


def memory(pid: int) -> int:
    """Return how many bytes a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no memory of {pid}")


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def content(number: int) -> bytes:
    return b"%d\n" % number * 1000


def write_together(folder: Path, count: int) -> None:
    """Have *count* files open at a time, each written by a thread of its own."""
    folder.mkdir()
    all_open = threading.Barrier(count)

    def write(number: int) -> None:
        with (folder / f"{number}.bin").open("wb") as file:
            all_open.wait(120)
            file.write(content(number))

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(write, range(count)))


def test_many_writers_at_once(drive: Drive, scale: int, record_property: Told) -> None:
    folder, count = drive.home(ALICE) / "writers", WRITERS * scale
    descriptors = descriptors_of(drive.pid)
    ALICE.do(write_together, folder, count)
    paths = [folder / f"{number}.bin" for number in range(count)]
    drive.wait_imported(*paths, seconds=60 + count / 5)
    wrong = [path.name for number, path in enumerate(paths) if path.read_bytes() != content(number)]
    assert wrong == []
    until(lambda: descriptors_of(drive.pid) <= descriptors + KEPT_DESCRIPTORS, "their descriptors given back")
    record_property("told", f"{count} writers at once, {count} files imported, 0 wrong")


def test_a_large_directory(drive: Drive, scale: int, record_property: Told) -> None:
    folder, count = drive.home(ALICE) / "large", FILES * scale
    names = {f"image-{number:06d}.bin" for number in range(count)}

    def fill() -> None:
        folder.mkdir()
        os.setxattr(folder, "user.repofs.policy", b'{"settle_seconds": 3600}')
        for name in names:
            (folder / name).touch()

    def look() -> tuple[int, bool]:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in entries]
        return len(found), set(found) == names

    ALICE.do(fill)
    assert ALICE.do(look) == (count, True), "each name once"
    assert ALICE.do(lambda: all((folder / name).stat().st_size == 0 for name in names))
    ALICE.run("rm", "-r", folder)
    assert not folder.exists()
    record_property("told", f"{count} files in one directory")


def test_what_the_kernel_forgets_costs_no_memory(drive: Drive, scale: int, record_property: Told) -> None:
    folder, count = drive.backing(drive.home(ALICE)) / "known", LOOKUPS // 10
    drive.wait_counted()  # what is made behind the mount's back
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").touch()
    shown = drive.home(ALICE) / "known"

    def look() -> None:
        for number in range(count):
            (shown / f"{number}.txt").stat()

    look()
    known = memory(drive.pid)
    kernel_caches.drop(kernel_caches.NAMES)
    before = memory(drive.pid)
    for _ in range(10 * scale):
        look()
        kernel_caches.drop(kernel_caches.NAMES)
    after = memory(drive.pid)
    looked_up = count * 10 * scale
    assert after - before < FORGOTTEN_BYTES, f"{(after - before) >> 20} MiB more after {looked_up} lookups"
    look()
    assert memory(drive.pid) - after < count * BYTES_A_NAME + FORGOTTEN_BYTES
    shutil.rmtree(folder)  # the mount counts what it holds
    told = f"{before >> 20} MiB before, {after >> 20} MiB after, {known >> 20} MiB with {count} names known"
    record_property("told", f"{looked_up} lookups and forgets: {told}")


@pytest.mark.skipif(native is None, reason="the native module was not built")
@pytest.mark.timeout(600)
def test_very_many_originals_are_opened_again_without_python(tmp_path: Path) -> None:
    with noted_drive() as noted:
        calls = Calls(tmp_path)
        folder = noted.drive.home(natively.ALICE) / "opened"
        Originals(noted.drive.layout, calls).fill(noted.drive.backing(folder), OPENED, 1)
        for _ in range(2):
            noted.asked("open")
            calls.do("open", folder, OPENED, 1)
        again = len(noted.asked("open"))
        shutil.rmtree(noted.drive.backing(folder))  # no catalogue knows them
    assert again < OPENED // 100


@pytest.mark.timeout(600)
def test_a_walk_of_very_many_files(scale: int, record_property: Told) -> None:
    count = WALKED * scale
    with mounted(QUICK) as drive:
        drive.wait_counted()  # what is made behind the mount's back
        home = drive.home(ALICE)
        folders = [drive.backing(home) / f"walked-{number}" for number in range(count // IN_ONE_DIRECTORY)]
        for folder in folders:
            folder.mkdir()
            for file in range(IN_ONE_DIRECTORY):
                os.mknod(folder / f"image-{file:06d}.tif")
        before = memory(drive.pid)
        sizes = [entry.stat().st_size for folder in home.glob("walked-*") for entry in os.scandir(folder)]
        walked = memory(drive.pid)
        assert sizes == [0] * count
        assert walked < WALKED_BYTES and walked - before < count * BYTES_A_FILE, f"{walked >> 20} MiB"
        kernel_caches.drop(kernel_caches.NAMES)
        left = FORGOTTEN_BYTES + (walked - before) // 10
        until(lambda: memory(drive.pid) - before < left, "the memory given back", seconds=60)
        for folder in folders:
            shutil.rmtree(folder)  # the mount counts what they hold
        told = f"{before >> 20} MiB before, {walked >> 20} MiB after, {memory(drive.pid) >> 20} MiB forgotten"
    record_property("told", f"{count} files walked through: {told}")


# --- a store that hangs ---------------------------------------------------------------------------

FAR = b"far away\n" * 100
FAR_FILES = 24  # more than a source has threads


@pytest.fixture
def hanging() -> Iterator[tuple[Drive, Path]]:
    """A mount with originals in place whose store can be made to hang, and what makes it."""
    with mounted(PATIENCE) as drive:
        store, behind = drive.outside / "store", drive.outside / "behind"
        store.mkdir()
        behind.mkdir()
        for name in (f"far-{number}.dat" for number in range(FAR_FILES)):
            for place in (behind, drive.outside):  # the second is where `agreement` looks when the store is away
                (place / name).write_bytes(FAR)
                (place / name).chmod(0o644)
        with hanging_store(behind, store) as switch:
            for far in far_files(drive):
                ALICE.do(os.symlink, store / far.name, far)
            drive.wait_imported(*far_files(drive))
            yield drive, switch


def far_files(drive: Drive) -> list[Path]:
    return [drive.home(ALICE) / f"far-{number}.dat" for number in range(FAR_FILES)]


def read(path: Path) -> bytes | int:
    """Return what is read, or the errno."""
    try:
        return path.read_bytes()
    except OSError as error:
        return error.errno or 0


def test_a_store_that_hangs_holds_up_nobody_else(hanging: tuple[Drive, Path]) -> None:
    drive, switch = hanging
    drive.allowed = ["a store does not answer", "a store answers again", "an original in place"]
    near, new = drive.home(ALICE) / "near.dat", drive.home(ALICE) / "new.dat"
    ALICE.do(near.write_bytes, b"near")
    drive.wait_imported(near)
    switch.touch()
    waiting = [BOB.begin(read, far) for far in far_files(drive)]
    assert ALICE.do(read, near) == b"near"
    ALICE.do(new.write_bytes, b"new")
    drive.wait_imported(new)
    assert {answer() for answer in waiting} == {errno.EIO}
    told = json.loads(ALICE.do(repofs, "status", "--json", drive.home(ALICE)).out)
    assert "the source store has not answered" in told[0]["hanging"][0]
    switch.unlink()
    for far in far_files(drive):
        until(lambda far=far: BOB.do(read, far) == FAR, "it answers again")  # type: ignore[misc]
        assert fact(far, "state") == State.IMPORTED
