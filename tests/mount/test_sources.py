"""Declared sources as the mount shows them: `.sources/NAME/`, read-only, with the caller's own rights."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.companion import companion
from tests.helpers.mounting import QUICK, Drive, fact
from tests.helpers.people import ALICE, BOB, CAROL, ROOT
from tests.helpers.waiting import until

SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n[[sources]]\nname = "gone"\npath = "/no/such"\n'
CONTENT = b"what the microscope saw\n" * 1000


@pytest.fixture
def shown(drive: Drive) -> Path:
    return drive.mountpoint / ".sources" / "scope1"


def alices(outside: Path, name: str) -> Path:
    path = outside / name
    ALICE.do(Path.write_bytes, path, CONTENT)
    return path


def test_a_source_is_listed_and_read_by_who_may(drive: Drive, shown: Path, outside: Path) -> None:
    run = outside / "run1"
    run.mkdir()
    (run / "a.tif").write_bytes(CONTENT)
    (run / "link").symlink_to("a.tif")
    os.mkfifo(run / "pipe")
    closed = outside / "closed"
    closed.mkdir(mode=0o700)
    (closed / "b.tif").write_bytes(CONTENT)
    assert ".sources" in ALICE.do(os.listdir, drive.mountpoint)
    assert ALICE.do(os.listdir, drive.mountpoint / ".sources") == ["scope1"]  # the other is away
    assert sorted(ALICE.do(os.listdir, shown / "run1")) == ["a.tif", "link"]
    assert ALICE.do(Path.read_bytes, shown / "run1/a.tif") == CONTENT
    assert os.readlink(shown / "run1/link") == "a.tif"
    assert (shown / "run1/a.tif").stat().st_mtime_ns == (run / "a.tif").stat().st_mtime_ns
    assert ROOT.do(Path.read_bytes, shown / "closed/b.tif") == CONTENT
    for attempt in (lambda: os.listdir(shown / "closed"), lambda: (shown / "closed/b.tif").read_bytes()):
        with pytest.raises(PermissionError):
            ALICE.do(attempt)
    run.chmod(0o700)  # counts at once
    with pytest.raises(PermissionError):
        ALICE.do(Path.read_bytes, shown / "run1/a.tif")
    assert ALICE.run("ls", "-la", shown).returncode == 0


def test_an_acl_outside_counts_inside(drive: Drive, shown: Path, outside: Path) -> None:
    secret = outside / "acl.tif"
    secret.write_bytes(CONTENT)
    secret.chmod(0o600)
    ROOT.run("setfacl", "-m", f"u:{BOB.uid}:r", secret)
    assert BOB.do(Path.read_bytes, shown / "acl.tif") == CONTENT
    with pytest.raises(PermissionError):
        ALICE.do(Path.read_bytes, shown / "acl.tif")


def test_nothing_is_changed_through_it(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    source = alices(outside, "fixed.tif")
    there = shown / "fixed.tif"
    ALICE.do(Path.write_bytes, folder / "mine", b"x")
    changes = [
        lambda: os.open(there, os.O_WRONLY),
        lambda: os.truncate(there, 0),
        lambda: os.unlink(there),
        lambda: os.chmod(there, 0o600),
        lambda: os.utime(there),
        lambda: os.setxattr(there, "user.a", b"b"),
        lambda: os.mkdir(shown / "new"),
        lambda: os.symlink("/etc/passwd", shown / "new"),
        lambda: os.open(shown / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.rename(there, shown / "other"),
        lambda: os.link(folder / "mine", shown / "mine"),
        lambda: os.rename(folder / "mine", shown / "mine"),
        lambda: os.rename(shown, folder / "all"),
    ]
    for number, change in enumerate(changes):
        with pytest.raises(OSError) as error:
            ALICE.do(change)
        assert (number, error.value.errno) in {(number, errno.EROFS), (number, errno.EACCES), (number, errno.EPERM)}
    assert source.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["mine"]


def test_cp_from_there_is_a_normal_import(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    alices(outside, "copied.tif")
    ALICE.run("cp", "-a", shown / "copied.tif", folder)
    drive.wait_imported(folder / "copied.tif")
    assert fact(folder / "copied.tif", "transfer") == "upload"
    assert (outside / "copied.tif").exists()


def test_ln_from_there_is_ln(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    source = alices(outside, "linked.tif")
    ALICE.run("ln", shown / "linked.tif", folder)
    assert ALICE.do(Path.read_bytes, folder / "linked.tif") == CONTENT
    drive.wait_imported(folder / "linked.tif")
    assert fact(folder / "linked.tif", "transfer") == "ln"
    assert source.stat().st_nlink == 2
    source.unlink()
    assert ALICE.do(Path.read_bytes, folder / "linked.tif") == CONTENT


def test_mv_from_there_is_ln_rm(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    source = alices(outside, "moved.tif")
    ALICE.run("mv", shown / "moved.tif", folder)
    drive.wait_imported(folder / "moved.tif")
    assert fact(folder / "moved.tif", "transfer") == "ln_rm"
    until(lambda: not source.exists(), "the end of the source's name")
    assert ALICE.do(Path.read_bytes, folder / "moved.tif") == CONTENT
    assert "moved.tif" not in os.listdir(shown)


def test_mv_of_a_tree(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    run = outside / "run2"
    ALICE.do(os.makedirs, run / "deep")
    for place in ("a.tif", "deep/b.tif"):
        alices(run, place)
    ALICE.run("mv", shown / "run2", folder)
    files = [folder / "run2/a.tif", folder / "run2/deep/b.tif"]
    until(lambda: all(path.exists() for path in files), "the tree")
    drive.wait_imported(*files)
    until(lambda: not (run / "a.tif").exists() and not (run / "deep/b.tif").exists(), "the end of the sources")
    assert [path.read_bytes() for path in files] == [CONTENT, CONTENT]


def test_what_may_not_be_removed_is_not_moved(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    closed = outside / "roots"
    closed.mkdir(mode=0o755)
    (closed / "a.tif").write_bytes(CONTENT)
    moved = ALICE.run("mv", shown / "roots/a.tif", folder, check=False)
    assert moved.returncode != 0
    assert (closed / "a.tif").read_bytes() == CONTENT


def test_who_may_not_import_links_nothing(drive: Drive, shown: Path, folder: Path, outside: Path) -> None:
    mine = outside / "carols.tif"
    CAROL.do(Path.write_bytes, mine, CONTENT)
    for attempt in (os.link, os.rename):
        with pytest.raises(PermissionError):
            CAROL.do(attempt, shown / "carols.tif", folder / "carols.tif")
    assert mine.read_bytes() == CONTENT and os.listdir(folder) == []


def test_many_readers_leave_nothing_open(drive: Drive, shown: Path, outside: Path) -> None:
    run = outside / "many"
    run.mkdir()
    for number in range(300):
        (run / f"{number}.tif").write_bytes(CONTENT)
    assert ALICE.run("cat", *sorted((shown / "many").iterdir())).stdout.encode() == CONTENT * 300
    assert len(ALICE.do(os.listdir, shown / "many")) == 300
    shutil.rmtree(run)
    assert not (shown / "many").exists()


def test_an_open_file_is_read_to_its_end_whatever_takes_its_name(drive: Drive, shown: Path, outside: Path) -> None:
    source = outside / "replaced.dat"
    source.write_bytes(CONTENT)
    (outside / "short.dat").write_bytes(b"short")
    with (shown / "replaced.dat").open("rb", buffering=0) as file:
        assert file.read(10) == CONTENT[:10]
        (outside / "short.dat").rename(source)
        assert b"".join(iter(lambda: file.read(4096), b"")) == CONTENT[10:]
    assert (shown / "replaced.dat").read_bytes() == b"short"


def test_what_took_the_place_of_ones_own_directory_tells_nothing(drive: Drive, shown: Path, outside: Path) -> None:
    mine, theirs = outside / "day", outside / "theirs"
    for owner, directory in ((ALICE, mine), (BOB, theirs)):
        owner.do(os.mkdir, directory, 0o700)
        owner.do(os.symlink, f"of {owner.name}", directory / "link")

    with companion(ALICE) as alice:
        fd = alice.do(os.open, shown / "day/link", os.O_PATH | os.O_NOFOLLOW)
        alice.do(os.rename, mine, outside / "away")
        BOB.do(os.rename, theirs, mine)
        with pytest.raises(OSError):
            alice.do(os.readlink, "", dir_fd=fd)
