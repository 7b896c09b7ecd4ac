"""Files in a directory are listed without the daemon's Python, and shown as it would show them."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from repofs.fuse import native
from tests.helpers.administered import Administered
from tests.helpers.companion import Companion, companion
from tests.helpers.drops import drop
from tests.helpers.mounting import fact
from tests.helpers.natively import ALICE, BOB, Folder, Noted, all_of, what

MANY = 2000  # more than there is room for in some answers of the kernel's
DOTS = {".", ".."}
open_listings: list[Any] = []

pytestmark = pytest.mark.skipif(native is None, reason="the native module was not built")


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


@pytest.mark.parametrize("count", [0, 1, 2, MANY])
def test_files_are_listed_without_python(drive: Administered, folder: Folder, noted: Noted, count: int) -> None:
    names = [f"{number:0{number % 200 + 4}}" for number in range(count)]
    folder.fill(names)
    noted.asked("list")
    assert sorted(BOB.do(os.listdir, folder.path)) == sorted(names)
    assert set(noted.asked("list")) == DOTS


def test_they_are_shown_as_python_shows_them(drive: Administered, folder: Folder, noted: Noted) -> None:
    folder.fill(["a", "b", "empty"])
    for name, size, mode in (("a", 5000, 0o600), ("b", 1, 0o664)):
        os.truncate(folder.behind / name, size)
        os.chmod(folder.behind / name, mode)
        os.utime(folder.behind / name, ns=(1_234_567_890_123_456_789, 987_654_321))
    noted.asked("list")
    names = ALICE.do(os.listdir, folder.path)
    natively = ALICE.do(all_of, folder.path, names)  # the kernel has them of the listing
    assert set(noted.asked("list")) == DOTS and len(natively) == 3
    assert noted.told_by_python(folder.path, names) == natively


def test_originals_are_shown_as_such(drive: Administered, folder: Folder, noted: Noted) -> None:
    paths = [drop(ALICE, folder.path / f"{number}.bin") for number in range(3)]
    drive.wait_imported(*paths)
    imported = drive.original_of(paths[0]).parent
    noted.forget()
    noted.asked("list")
    names = {folder.path: BOB.do(os.listdir, folder.path)}
    assert set(noted.asked("list")) == DOTS
    names[imported] = BOB.do(os.listdir, imported)
    natively = {directory: all_of(directory, names[directory]) for directory in names}
    assert {directory: noted.told_by_python(directory, names[directory]) for directory in names} == natively
    assert {fact(directory / name, "state") for directory in names for name in names[directory]} == {"imported"}


def test_other_things_among_them_are_listed_too(folder: Folder, noted: Noted) -> None:
    behind = folder.behind
    folder.fill([f"file-{number}" for number in range(MANY)])
    for number in range(0, MANY, 50):
        ALICE.do(os.mkdir, folder.path / f"directory-{number}")
        ALICE.do(os.symlink, "nowhere", folder.path / f"link-{number}")
    for _ in range(2):
        noted.forget()
        names = BOB.do(os.listdir, folder.path)
        assert len(names) == len(set(names)) and set(names) == set(os.listdir(behind))
        kinds = {name: stat.S_IFMT(os.lstat(folder.path / name).st_mode) for name in names}
        assert kinds == {name: stat.S_IFMT(os.lstat(behind / name).st_mode) for name in names}


def test_files_that_are_open_keep_their_state(drive: Administered, folder: Folder) -> None:
    folder.fill([f"{number}" for number in range(MANY)])
    names = [f"open-{number}" for number in range(5)]
    with companion(ALICE) as she:
        fds = [she.do(os.open, folder.path / name, os.O_RDWR | os.O_CREAT) for name in names]
        assert len(BOB.do(os.listdir, folder.path)) == MANY + len(names)
        assert {she.do(os.pwrite, fd, b"pixels", 0) for fd in fds} == {6}
        for fd in fds:
            she.do(os.close, fd)
    drive.wait_imported(*(folder.path / name for name in names))
    assert {os.stat(folder.path / name).st_size for name in names} == {6}


def test_a_name_that_goes_meanwhile_is_left_out(drive: Administered, folder: Folder) -> None:
    folder.fill([f"{number}" for number in range(MANY)])
    with companion(BOB) as he:
        first = begun(he, folder.path)
        left = [name for name in os.listdir(folder.behind)[MANY // 2 :] if name not in first]
        for name in left:
            os.unlink(folder.behind / name)
        rest = he.do(go_on)
    assert set(first + rest) == {f"{number}" for number in range(MANY)} - set(left)


def test_a_directory_that_goes_meanwhile_has_an_end(drive: Administered, folder: Folder) -> None:
    folder.fill([f"{number}" for number in range(MANY)])
    with companion(ALICE) as she:
        first = begun(she, folder.path)
        for name in os.listdir(folder.behind):
            os.unlink(folder.behind / name)
        ALICE.do(os.rmdir, folder.path)
        assert len(first + she.do(go_on)) < MANY


def listed_twice(folder: str, new: str) -> tuple[set[str], set[str]]:
    fd = os.open(folder, os.O_RDONLY)
    try:
        before = set(os.listdir(fd))
        os.close(os.open(new, os.O_CREAT | os.O_WRONLY))
        return before, set(os.listdir(fd))  # it rewinds
    finally:
        os.close(fd)


def test_who_rewinds_sees_what_is_new(drive: Administered, folder: Folder) -> None:
    folder.fill([f"{number}" for number in range(MANY)])
    before, after = ALICE.do(listed_twice, str(folder.path), str(folder.path / ".new"))
    assert after - before == {".new"} and len(before) == MANY
    ALICE.do(os.unlink, folder.path / ".new")


def test_names_that_are_being_removed_are_hidden_at_once(drive: Administered, folder: Folder, noted: Noted) -> None:
    source = drive.outside / "a.zarr"
    (source / "0").mkdir(parents=True)
    (source / "zarr.json").write_bytes(b"{}")
    for number in range(400):
        (source / "0" / f"{number}").write_bytes(b"pixels")
    ALICE.do(shutil.copytree, source, folder.path / "a.zarr")
    drive.wait_imported(folder.path / "a.zarr" / "zarr.json", seconds=60)
    inside = drive.original_of(folder.path / "a.zarr" / "zarr.json").parent / "0"
    noted.forget()
    with companion(ALICE) as she:
        first = begun(she, inside)
        last = os.listdir(drive.backing(inside))[-1]
        assert last not in first
        she.do(os.unlink, inside / last)
        noted.forget()  # what unlink had to know of it
        assert last not in she.do(go_on)
    assert last in BOB.do(os.listdir, inside)


def test_a_change_of_level_counts_at_once(drive: Administered, folder: Folder) -> None:
    folder.fill([f"{number}" for number in range(MANY)])
    with companion(ALICE) as she:
        first = begun(she, folder.path)
        last = os.listdir(folder.behind)[-1]
        assert last not in first
        before = what(folder.path / first[0])[1]
        drive.set_permissions("lab", "private")
        she.do(go_on)
    try:
        assert what(folder.path / last)[1] & 0o077 == 0 and before & 0o077 != 0
    finally:
        drive.set_permissions("lab", "read-annotate")
