"""Names are looked up without the daemon's Python, and shown as it would show them."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from repofs.fuse import native
from tests.helpers.administered import Administered
from tests.helpers.command_line import repofs
from tests.helpers.companion import companion
from tests.helpers.drops import drop
from tests.helpers.mounting import fact
from tests.helpers.natively import ALICE, BOB, Folder, Noted, all_of, what

FIRST = 2  # names that Python is asked for before a directory is known

pytestmark = pytest.mark.skipif(native is None, reason="the native module was not built")


def know(folder: Path) -> None:
    """Ask for names in *folder*, until it is known."""
    for number in range(FIRST):
        assert not os.path.lexists(folder / f"nothing-{number}")


def make(folder: Path, names: list[str]) -> None:
    for name in names:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))


def test_python_is_asked_for_the_first_names_in_a_directory_only(folder: Folder, noted: Noted) -> None:
    names = [f"{number}" for number in range(50)]
    folder.fill(names)
    noted.asked("lookup")
    BOB.do(all_of, folder.path, names)
    assert noted.asked("lookup")[-FIRST:] == names[:FIRST]


def test_who_makes_files_has_python_asked_for_the_first_only(folder: Folder, noted: Noted) -> None:
    names = [f"{number}" for number in range(50)]
    noted.asked("lookup")
    ALICE.do(make, folder.path, names)
    assert noted.asked("lookup") == names[:FIRST]
    noted.drive.wait_imported(*(folder.path / name for name in names))
    assert sorted(os.listdir(folder.behind)) == sorted(names)


def test_files_are_shown_as_python_shows_them(folder: Folder, noted: Noted) -> None:
    names = [f"{number}" for number in range(8)]
    folder.fill(names)
    for number, name in enumerate(names):
        os.truncate(folder.behind / name, 1000 * number)
        os.chmod(folder.behind / name, (0o600, 0o664)[number % 2])
        os.utime(folder.behind / name, ns=(1_234_567_890_123_456_789, 987_654_321))
    told = noted.told_by_python(folder.path, names)
    noted.forget()
    know(folder.path)
    noted.asked("lookup")
    assert ALICE.do(all_of, folder.path, names) == told
    assert noted.asked("lookup") == []


def test_originals_are_shown_as_such(drive: Administered, folder: Folder, noted: Noted) -> None:
    names = [f"{number}.bin" for number in range(5)]
    paths = [drop(ALICE, folder.path / name) for name in names]
    drive.wait_imported(*paths)
    for directory in (folder.path, drive.original_of(paths[0]).parent):
        there = [name for name in names if (directory / name).exists()]
        told = noted.told_by_python(directory, there)
        noted.forget()
        know(directory)
        assert BOB.do(all_of, directory, there) == told
        assert {fact(directory / name, "state") for name in there} == {"imported"}


def test_a_directory_is_shown_as_python_shows_it(folder: Folder, noted: Noted) -> None:
    ALICE.do(os.mkdir, folder.path / "inside")
    noted.forget()
    told = BOB.do(what, folder.path)
    know(folder.path)
    noted.asked("getattr")
    for number in range(3):
        ALICE.do(os.mkdir, folder.path / f"{number}")  # after that the kernel asks
        status = os.stat(folder.behind)
        shown = BOB.do(what, folder.path)
        assert shown[:2] + shown[3:5] == told[:2] + told[3:5]
        assert shown[2] == status.st_nlink and shown[-2:] == (status.st_mtime_ns, status.st_ctime_ns)
    assert str(told[0]) not in noted.asked("getattr")


def test_what_is_open_is_shown_as_it_is_written(folder: Folder, noted: Noted) -> None:
    know(folder.path)
    with companion(ALICE) as she:
        fd = she.do(os.open, folder.path / "new", os.O_CREAT | os.O_WRONLY)
        assert BOB.do(os.stat, folder.path / "new").st_size == 0
        she.do(os.pwrite, fd, b"pixels", 0)
        assert BOB.do(os.stat, folder.path / "new").st_size == 6
        she.do(os.close, fd)
    noted.drive.wait_imported(folder.path / "new")


def test_directories_and_links_are_found_too(folder: Folder, noted: Noted) -> None:
    ALICE.do(os.mkdir, folder.path / "inside")
    ALICE.do(os.symlink, "nowhere", folder.path / "link")
    noted.forget()
    know(folder.path)
    assert (folder.path / "inside").is_dir() and os.readlink(folder.path / "link") == "nowhere"


def test_a_directory_that_was_moved_is_asked_by_its_new_name(folder: Folder, noted: Noted) -> None:
    ALICE.do(os.mkdir, folder.path / "before")
    know(folder.path / "before")
    ALICE.do(os.rename, folder.path / "before", folder.path / "after")
    ALICE.do(os.mkdir, folder.path / "before")
    ALICE.do(make, folder.path / "after", ["one"])
    assert (folder.path / "after" / "one").exists() and not (folder.path / "before" / "one").exists()
    noted.drive.wait_imported(folder.path / "after" / "one")


def test_a_directory_that_was_removed_is_another_when_it_is_made_again(folder: Folder, noted: Noted) -> None:
    for number in range(3):
        ALICE.do(os.mkdir, folder.path / "again")
        know(folder.path / "again")
        ALICE.do(make, folder.path / "again", [f"{number}"])
        noted.drive.wait_imported(folder.path / "again" / f"{number}")
        assert os.listdir(folder.path / "again") == [f"{number}"]
        ALICE.do(shutil.rmtree, folder.path / "again")
        assert not (folder.path / "again").exists()


def in_a_directory_that_is_gone(path: Path) -> list[int]:
    """Return how a name, asked for or to be made, is refused to who stands in a directory that is removed."""
    os.mkdir(path)
    os.chdir(path)
    know(path)
    os.rmdir(path)
    refusals = []
    for ask in (lambda: os.stat("name"), lambda: os.close(os.open("name", os.O_CREAT | os.O_WRONLY))):
        try:
            ask()
        except OSError as error:
            refusals.append(error.errno or 0)
    return refusals


def test_who_stands_in_a_directory_that_is_removed_finds_nothing(folder: Folder) -> None:
    assert ALICE.do(in_a_directory_that_is_gone, folder.path / "gone") == [errno.ENOENT] * 2


def test_one_that_was_removed_behind_the_mount_is_gone(folder: Folder, noted: Noted) -> None:
    ALICE.do(os.mkdir, folder.path / "gone")
    know(folder.path / "gone")
    ALICE.do(make, folder.path / "gone", ["was"])
    noted.drive.wait_imported(folder.path / "gone" / "was")
    shutil.rmtree(folder.behind / "gone")
    assert not os.path.lexists(folder.path / "gone" / "other")
    with pytest.raises(OSError):
        os.close(os.open(folder.path / "gone" / "new", os.O_CREAT | os.O_WRONLY))


def test_who_stands_in_an_import_directory_that_is_deleted_finds_nothing(
    drive: Administered, folder: Folder, noted: Noted
) -> None:
    first, second = [drop(ALICE, folder.path / name) for name in ("first.bin", "second.bin")]
    drive.wait_imported(first, second)
    directory = drive.original_of(first).parent
    with companion(BOB) as he:
        he.do(os.chdir, directory)
        know(directory)
        assert he.do(os.path.exists, "first.bin")
        deleted = ALICE.do(repofs, "-C", str(drive.repository), "delete", str(fact(first, "fileset")))
        assert deleted.code == 0, deleted.err
        assert not he.do(os.path.exists, "first.bin") and not he.do(os.path.exists, "second.bin")


def test_a_name_that_is_being_removed_is_hidden_at_once(drive: Administered, folder: Folder, noted: Noted) -> None:
    source = drive.outside / "b.zarr"
    source.mkdir()
    for name in ("zarr.json", "0", "1", "2"):
        (source / name).write_bytes(b"{}")
    ALICE.do(shutil.copytree, source, folder.path / "b.zarr")
    drive.wait_imported(folder.path / "b.zarr" / "zarr.json", seconds=60)
    inside = drive.original_of(folder.path / "b.zarr" / "zarr.json").parent
    noted.forget()
    know(inside)
    ALICE.do(os.unlink, inside / "0")
    assert not ALICE.do(os.path.exists, inside / "0")
    noted.forget()
    know(inside)
    assert not ALICE.do(os.path.exists, inside / "0")
    assert ALICE.do(os.path.exists, inside / "1") and BOB.do(os.path.exists, inside / "0")


def test_a_change_of_level_counts_at_once(drive: Administered, folder: Folder, noted: Noted) -> None:
    folder.fill(["a", "b", "c"])
    know(folder.path)
    assert BOB.do(what, folder.path / "a")[1] & 0o077
    drive.set_permissions("lab", "private")
    try:
        with pytest.raises(PermissionError):
            BOB.do(os.stat, folder.path / "b")
        assert what(folder.path / "c")[1] & 0o077 == 0 and what(folder.path)[1] & 0o077 == 0
    finally:
        drive.set_permissions("lab", "read-annotate")
    assert BOB.do(what, folder.path / "c")[1] & 0o077
