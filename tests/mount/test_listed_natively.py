"""Files in a directory are listed without the daemon's Python, and shown as it would show them."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import kernel
from repofs.fuse import native
from tests.helpers import noted_listings
from tests.helpers.administered import Administered
from tests.helpers.companion import Companion, companion
from tests.helpers.drops import drop
from tests.helpers.mounting import QUICK, fact, running, scratch
from tests.helpers.people import Person

LAB = 61000
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)
MANY = 2000  # more than there is room for in some answers of the kernel's
DOTS = {".", ".."}
numbers = itertools.count()
open_listings: list[Any] = []
made: list[Path] = []  # behind the mount

pytestmark = pytest.mark.skipif(native is None, reason="the native module was not built")


@pytest.fixture(scope="module")
def notes() -> Iterator[Path]:
    with scratch() as place:
        path = place / "listed"
        path.touch()
        path.chmod(0o666)  # for the daemon
        os.environ[noted_listings.NOTES] = str(path)
        yield path
        del os.environ[noted_listings.NOTES]


@pytest.fixture(scope="module")
def module_drive(notes: Path) -> Iterator[Administered]:
    with scratch() as place:
        drive = Administered(place, QUICK)

        def start() -> None:
            drive.add_group("lab", LAB, "read-annotate")
            for person in (ALICE, BOB):
                drive.add_user(person, "lab")
            drive.start((sys.executable, "-m", "tests.helpers.noted_listings"))

        with running(drive, start):
            yield drive


@pytest.fixture
def folder(drive: Administered) -> Iterator[Path]:
    path = drive.home(ALICE) / f"folder-{next(numbers)}"
    ALICE.do(os.mkdir, path)
    yield path
    while made:
        made.pop().unlink(missing_ok=True)


def fill(drive: Administered, folder: Path, names: Iterable[str]) -> None:
    """Put empty files into Alice's directory behind the mount: nobody has seen them, and they are not counted."""
    for name in names:
        made.append(drive.backing(folder / name))
        made[-1].touch()
        os.chown(made[-1], ALICE.uid, LAB)
    forget(drive)  # the numbers of files that were removed are given again


def forget(drive: Administered) -> None:
    """Have the kernel forget all, and the daemon hear of it."""
    kernel.drop_cache(drive.mountpoint)
    kernel.wait_idle(drive.pid)


def listed_by_python(notes: Path) -> list[str]:
    names = notes.read_text().splitlines()
    notes.write_text("")
    return names


def begin(path: str) -> list[str]:
    """Begin to list a directory; return the first names."""
    open_listings.append(os.scandir(path))
    return [next(open_listings[-1]).name]


def go_on() -> list[str]:
    """Return the rest of the names."""
    with open_listings.pop() as listing:
        return [entry.name for entry in listing]


def begun(she: Companion, path: Path) -> list[str]:
    return she.do(begin, str(path))


def lines_of(path: Path, names: list[str]) -> dict[str, tuple[int, ...]]:
    return {name: what(path / name) for name in names}


def what(path: Path) -> tuple[int, ...]:
    one = os.lstat(path)
    times = one.st_atime_ns, one.st_mtime_ns, one.st_ctime_ns
    return (
        one.st_ino,
        one.st_mode,
        one.st_nlink,
        one.st_uid,
        one.st_gid,
        one.st_size,
        one.st_blocks,
        one.st_blksize,
        *times,
    )


@pytest.mark.parametrize("count", [0, 1, 2, MANY])
def test_files_are_listed_without_python(drive: Administered, folder: Path, notes: Path, count: int) -> None:
    names = [f"{number:0{number % 200 + 4}}" for number in range(count)]
    fill(drive, folder, names)
    listed_by_python(notes)
    assert sorted(BOB.do(os.listdir, folder)) == sorted(names)
    assert set(listed_by_python(notes)) == DOTS


def test_they_are_shown_as_python_shows_them(drive: Administered, folder: Path, notes: Path) -> None:
    fill(drive, folder, ["a", "b", "empty"])
    for name, size, mode in (("a", 5000, 0o600), ("b", 1, 0o664)):
        os.truncate(drive.backing(folder / name), size)
        os.chmod(drive.backing(folder / name), mode)
        os.utime(drive.backing(folder / name), ns=(1_234_567_890_123_456_789, 987_654_321))
    listed_by_python(notes)
    names = ALICE.do(os.listdir, folder)
    natively = ALICE.do(lines_of, folder, names)  # the kernel has them of the listing
    assert set(listed_by_python(notes)) == DOTS and len(natively) == 3
    forget(drive)
    assert ALICE.do(lines_of, folder, names) == natively  # asked for by name, each


def test_originals_are_shown_as_such(drive: Administered, folder: Path, notes: Path) -> None:
    paths = [drop(ALICE, folder / f"{number}.bin") for number in range(3)]
    drive.wait_imported(*paths)
    imported = drive.original_of(paths[0]).parent
    forget(drive)
    listed_by_python(notes)
    names = {folder: BOB.do(os.listdir, folder)}
    assert set(listed_by_python(notes)) == DOTS
    names[imported] = BOB.do(os.listdir, imported)
    natively = {directory: lines_of(directory, names[directory]) for directory in names}
    forget(drive)
    assert {directory: lines_of(directory, names[directory]) for directory in names} == natively
    assert {fact(directory / name, "state") for directory in names for name in names[directory]} == {"imported"}


def test_other_things_among_them_are_listed_too(drive: Administered, folder: Path) -> None:
    behind = drive.backing(folder)
    fill(drive, folder, [f"file-{number}" for number in range(MANY)])
    for number in range(0, MANY, 50):
        ALICE.do(os.mkdir, folder / f"directory-{number}")
        ALICE.do(os.symlink, "nowhere", folder / f"link-{number}")
    for _ in range(2):
        forget(drive)
        names = BOB.do(os.listdir, folder)
        assert len(names) == len(set(names)) and set(names) == set(os.listdir(behind))
        kinds = {name: stat.S_IFMT(os.lstat(folder / name).st_mode) for name in names}
        assert kinds == {name: stat.S_IFMT(os.lstat(behind / name).st_mode) for name in names}


def test_files_that_are_open_keep_their_state(drive: Administered, folder: Path) -> None:
    fill(drive, folder, [f"{number}" for number in range(MANY)])
    names = [f"open-{number}" for number in range(5)]
    with companion(ALICE) as she:
        fds = [she.do(os.open, folder / name, os.O_RDWR | os.O_CREAT) for name in names]
        assert len(BOB.do(os.listdir, folder)) == MANY + len(names)
        assert {she.do(os.pwrite, fd, b"pixels", 0) for fd in fds} == {6}
        for fd in fds:
            she.do(os.close, fd)
    drive.wait_imported(*(folder / name for name in names))
    assert {os.stat(folder / name).st_size for name in names} == {6}


def test_a_name_that_goes_meanwhile_is_left_out(drive: Administered, folder: Path) -> None:
    fill(drive, folder, [f"{number}" for number in range(MANY)])
    with companion(BOB) as he:
        first = begun(he, folder)
        left = [name for name in os.listdir(drive.backing(folder))[MANY // 2 :] if name not in first]
        for name in left:
            os.unlink(drive.backing(folder / name))
        rest = he.do(go_on)
    assert set(first + rest) == {f"{number}" for number in range(MANY)} - set(left)


def test_a_directory_that_goes_meanwhile_has_an_end(drive: Administered, folder: Path) -> None:
    fill(drive, folder, [f"{number}" for number in range(MANY)])
    with companion(ALICE) as she:
        first = begun(she, folder)
        for name in os.listdir(drive.backing(folder)):
            os.unlink(drive.backing(folder / name))
        ALICE.do(os.rmdir, folder)
        assert len(first + she.do(go_on)) < MANY


def listed_twice(folder: str, new: str) -> tuple[set[str], set[str]]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        before = set(os.listdir(fd))
        os.close(os.open(new, os.O_CREAT | os.O_WRONLY))
        return before, set(os.listdir(fd))  # it rewinds
    finally:
        os.close(fd)


def test_who_rewinds_sees_what_is_new(drive: Administered, folder: Path) -> None:
    fill(drive, folder, [f"{number}" for number in range(MANY)])
    before, after = ALICE.do(listed_twice, str(folder), str(folder / ".new"))
    assert after - before == {".new"} and len(before) == MANY
    ALICE.do(os.unlink, folder / ".new")


def test_names_that_are_being_removed_are_hidden_at_once(drive: Administered, folder: Path) -> None:
    source = drive.outside / "a.zarr"
    (source / "0").mkdir(parents=True)
    (source / "zarr.json").write_bytes(b"{}")
    for number in range(400):
        (source / "0" / f"{number}").write_bytes(b"pixels")
    ALICE.do(shutil.copytree, source, folder / "a.zarr")
    drive.wait_imported(folder / "a.zarr" / "zarr.json", seconds=60)
    inside = drive.original_of(folder / "a.zarr" / "zarr.json").parent / "0"
    forget(drive)
    with companion(ALICE) as she:
        first = begun(she, inside)
        last = os.listdir(drive.backing(inside))[-1]
        assert last not in first
        she.do(os.unlink, inside / last)
        forget(drive)  # what unlink had to know of it
        assert last not in she.do(go_on)
    assert last in BOB.do(os.listdir, inside)


def test_a_change_of_level_counts_at_once(drive: Administered, folder: Path) -> None:
    fill(drive, folder, [f"{number}" for number in range(MANY)])
    with companion(ALICE) as she:
        first = begun(she, folder)
        last = os.listdir(drive.backing(folder))[-1]
        assert last not in first
        before = what(folder / first[0])[1]
        drive.set_permissions("lab", "private")
        she.do(go_on)
    try:
        assert what(folder / last)[1] & 0o077 == 0 and before & 0o077 != 0
    finally:
        drive.set_permissions("lab", "read-annotate")
