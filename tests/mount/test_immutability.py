"""An original's bytes cannot be changed: by no route, by nobody, through none of its names."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from repofs.namespace.backing import RENAME_EXCHANGE, renameat2
from tests.helpers.mounting import Drive, fact, facts, tell
from tests.helpers.people import ALICE, BOB, ROOT, Person

CONTENT = b"what the microscope saw\n" * 1000
AT_FDCWD = -100


@pytest.fixture
def original(drive: Drive, folder: Path) -> Path:
    """A file of Alice's that has been imported, by the name where she dropped it."""
    path = folder / "scan.bin"
    ALICE.do(path.write_bytes, CONTENT)
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    return path


def assert_untouched(drive: Drive, dropped: Path, inode: int) -> None:
    kept = drive.original_of(dropped)
    assert kept.stat().st_ino == inode
    assert kept.read_bytes() == CONTENT
    assert drive.backing(kept).read_bytes() == CONTENT
    assert fact(kept, "checksum") == "SHA1-160:" + hashlib.sha1(CONTENT).hexdigest()
    assert fact(kept, "state") == "imported"


# --- routes to the bytes --------------------------------------------------------------------------


def opens(flags: int) -> Callable[[Path], object]:
    return lambda path: os.open(path, flags, 0o666)


def map_shared(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    with mmap.mmap(fd, 10, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as memory:
        memory[0:1] = b"X"


def through_a_descriptor(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.open(f"/proc/self/fd/{fd}", os.O_RDWR)


def after_chmod(path: Path) -> None:
    os.chmod(path, 0o666)
    os.open(path, os.O_WRONLY)


def through_a_link(path: Path) -> None:
    os.link(path, path.parent.parent / f"{path.parent.name}-link")
    os.open(path.parent.parent / f"{path.parent.name}-link", os.O_RDWR)


def through_a_symlink(path: Path) -> None:
    link = path.parent.parent / f"{path.parent.name}-symlink"
    os.symlink(path, link)
    os.truncate(link, 0)


BYTES: dict[str, Callable[[Path], object]] = {
    "open to write": opens(os.O_WRONLY),
    "open to read and write": opens(os.O_RDWR),
    "open to append": opens(os.O_WRONLY | os.O_APPEND),
    "open and truncate": opens(os.O_WRONLY | os.O_TRUNC),
    "open to read, and truncate": opens(os.O_RDONLY | os.O_TRUNC),
    "open as if to create": opens(os.O_WRONLY | os.O_CREAT),
    "open directly": opens(os.O_WRONLY | os.O_DIRECT),
    "truncate to nothing": lambda path: os.truncate(path, 0),
    "truncate to more": lambda path: os.truncate(path, len(CONTENT) + 1),
    "truncate to its own size": lambda path: os.truncate(path, len(CONTENT)),
    "ftruncate": lambda path: os.ftruncate(os.open(path, os.O_RDONLY), 0),
    "write": lambda path: os.write(os.open(path, os.O_RDONLY), b"X"),
    "fallocate": lambda path: os.posix_fallocate(os.open(path, os.O_RDONLY), 0, 10**6),
    "map": map_shared,
    "a descriptor opened again": through_a_descriptor,
    "a mode that allows it": after_chmod,
    "a hard link": through_a_link,
    "a symbolic link": through_a_symlink,
}
# The kernel knows that a descriptor is for reading only; all else is the daemon's word.
BY_THE_KERNEL = {"ftruncate": "EINVAL", "write": "EBADF", "fallocate": "EBADF", "map": "EACCES"}


@pytest.mark.parametrize("person", [ALICE, ROOT], ids=lambda person: person.name)
@pytest.mark.parametrize("route", BYTES)
def test_no_route_leads_to_the_bytes(drive: Drive, original: Path, route: str, person: Person) -> None:
    inode = original.stat().st_ino
    with pytest.raises(OSError) as caught:
        person.do(BYTES[route], original)
    assert errno.errorcode[caught.value.errno or 0] == BY_THE_KERNEL.get(route, "EPERM")
    assert_untouched(drive, original, inode)


@pytest.mark.parametrize("person", [ALICE, ROOT], ids=lambda person: person.name)
@pytest.mark.parametrize("route", [route for route in BYTES if "link" not in route])
def test_nor_through_the_name_in_the_import_directory(drive: Drive, original: Path, route: str, person: Person) -> None:
    kept, inode = drive.original_of(original), original.stat().st_ino
    with pytest.raises(OSError) as caught:
        person.do(BYTES[route], kept)
    assert errno.errorcode[caught.value.errno or 0] == BY_THE_KERNEL.get(route, "EPERM")
    assert_untouched(drive, original, inode)


def test_nor_does_a_change_of_owner_help(drive: Drive, original: Path) -> None:
    inode = original.stat().st_ino
    with pytest.raises(PermissionError):
        os.chown(original, BOB.uid, BOB.gid)
    with pytest.raises(PermissionError):
        BOB.do(os.open, original, os.O_RDWR)
    assert_untouched(drive, original, inode)


# --- routes to the names --------------------------------------------------------------------------


def exchange(path: Path, other: Path) -> None:
    other.write_bytes(b"other")
    renameat2(AT_FDCWD, bytes(path), AT_FDCWD, bytes(other), RENAME_EXCHANGE)


def replace(path: Path, other: Path) -> None:
    other.write_bytes(b"other")
    os.rename(other, path)


NAMES: dict[str, Callable[[Path, Path], object]] = {
    "rename": os.rename,
    "replace": replace,
    "exchange": exchange,
    "a new file beside": lambda path, _: path.with_name("new").write_bytes(b"x"),
    "a new directory beside": lambda path, _: os.mkdir(path.with_name("new")),
    "a link beside": lambda path, _: os.link(path, path.with_name("new")),
    "a symbolic link beside": lambda path, _: os.symlink("x", path.with_name("new")),
    "rename the import directory": lambda path, other: os.rename(path.parent, other),
    "remove its log": lambda path, _: os.unlink(f"{path.parent}.log"),
    "rename its log": lambda path, other: os.rename(f"{path.parent}.log", other),
    "write its log": lambda path, _: open(f"{path.parent}.log", "a"),  # noqa: SIM115
    "truncate its log": lambda path, _: os.truncate(f"{path.parent}.log", 0),
    "change the mode of its log": lambda path, _: os.chmod(f"{path.parent}.log", 0o666),
    "change the mode of its directory": lambda path, _: os.chmod(path.parent, 0o777),
    "rename the month": lambda path, other: os.rename(path.parents[2], other),
    "remove the day": lambda path, _: os.rmdir(path.parents[1]),
    "remove the month": lambda path, _: os.rmdir(path.parents[2]),
}


# What a log's mode forbids already.
OTHER_REFUSALS = {"write its log": "EACCES", "truncate its log": "EACCES"}


@pytest.mark.parametrize("person", [ALICE, ROOT], ids=lambda person: person.name)
@pytest.mark.parametrize("route", NAMES)
def test_an_import_directory_is_indivisible(drive: Drive, original: Path, route: str, person: Person) -> None:
    kept, inode = drive.original_of(original), original.stat().st_ino
    with pytest.raises(OSError) as caught:
        person.do(NAMES[route], kept, original.with_name("elsewhere"))
    assert errno.errorcode[caught.value.errno or 0] in ("EPERM", OTHER_REFUSALS.get(route))
    assert os.listdir(kept.parent) == [kept.name]
    assert kept.parent.with_name(kept.parent.name + ".log").exists()
    assert_untouched(drive, original, inode)


DROPPED: dict[str, Callable[[Path, Path], object]] = {
    "unlink": lambda path, _: os.unlink(path),
    **{name: NAMES[name] for name in ("rename", "replace", "exchange")},
}


@pytest.mark.parametrize("route", DROPPED)
def test_the_dropped_name_is_its_owners_and_the_original_stays(drive: Drive, original: Path, route: str) -> None:
    inode = original.stat().st_ino
    ALICE.do(DROPPED[route], original, original.with_name("elsewhere.bin"))
    assert_untouched(drive, original, inode)
    assert len(drive.originals_at(original)) == 1


def test_removing_the_whole_dropped_directory_leaves_the_original(drive: Drive, original: Path) -> None:
    inode = original.stat().st_ino
    ALICE.run("rm", "-r", original.parent)
    assert_untouched(drive, original, inode)
    assert drive.original_of(original).stat().st_nlink == 1


# --- facts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["state", "checksum", "original", "fileset", "error", "metadata", "mark"])
def test_facts_of_an_original_cannot_be_set(drive: Drive, original: Path, name: str) -> None:
    inode = original.stat().st_ino
    for person in (ALICE, ROOT):
        with pytest.raises(OSError) as caught:
            person.do(os.setxattr, original, f"user.repofs.{name}", b"x")
        assert caught.value.errno in (errno.EPERM, errno.EINVAL)
        before = facts(original)
        with contextlib.suppress(OSError):  # of a fact it is ignored, for rsync -X
            person.do(os.removexattr, original, f"user.repofs.{name}")
        assert facts(original) == before
    assert_untouched(drive, original, inode)


# --- time -----------------------------------------------------------------------------------------


def test_a_descriptor_from_before_the_import_holds_the_import_up(drive: Drive, folder: Path) -> None:
    path, other = folder / "held.bin", folder / "other.bin"

    def write_late() -> None:
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.write(fd, b"early ")
        second = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.close(fd)
        other.write_bytes(b"other")
        drive.wait_imported(other)
        assert fact(path, "state") == "writing"
        os.write(second, b"late")
        os.ftruncate(second, 8)
        os.close(second)

    ALICE.do(write_late)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"early la"


def test_a_mapping_from_before_the_import_holds_the_import_up(drive: Drive, folder: Path) -> None:
    path, other = folder / "mapped.bin", folder / "other.bin"

    def write_late() -> None:
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 4096)
        with mmap.mmap(fd, 4096) as memory:
            os.close(fd)
            other.write_bytes(b"other")
            drive.wait_imported(other)
            assert fact(path, "state") == "writing"
            memory[:4] = b"late"

    ALICE.do(write_late)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"late" + bytes(4092)
    assert fact(path, "checksum") == "SHA1-160:" + hashlib.sha1(b"late" + bytes(4092)).hexdigest()


# --- user namespaces ------------------------------------------------------------------------------


def _namespaces_are_free() -> bool:
    ids = {"user": ALICE.uid, "group": ALICE.gid, "extra_groups": []}
    return bool(shutil.which("unshare")) and subprocess.run(["unshare", "-Ur", "true"], **ids).returncode == 0  # type: ignore[call-overload]


def test_root_in_a_namespace_of_her_own_changes_nothing(drive: Drive, original: Path) -> None:
    """There the kernel lets her open what its mode forbids: the daemon decides again."""
    if not _namespaces_are_free():
        pytest.skip("this kernel gives ordinary users no user namespaces")
    kept, inode = drive.original_of(original), original.stat().st_ino
    script = """
        for file in "$1" "$2"; do
            chmod 0666 "$file"
            { echo X >> "$file"; } 2>/dev/null && echo appended
            { true > "$file"; } 2>/dev/null && echo emptied
            truncate -s 0 "$file" 2>/dev/null && echo truncated
            dd if=/dev/zero of="$file" bs=1 count=1 conv=notrunc 2>/dev/null && echo overwritten
        done
        mv "$2" "$3" 2>/dev/null && echo moved
        { echo X > "$(dirname "$2")/new"; } 2>/dev/null && echo added
        { echo X >> "$(dirname "$2").log"; } 2>/dev/null && echo logged
        id -u
    """
    done = ALICE.run("unshare", "-Ur", "sh", "-c", script, "sh", original, kept, original.with_name("moved"))
    assert done.stdout == "0\n"
    assert_untouched(drive, original, inode)
