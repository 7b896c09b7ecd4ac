"""What POSIX and Linux promise of bytes, attributes and the file system holds in a user directory.

Nothing is imported here: the settle time is longer than the tests.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
from pathlib import Path

import pytest

from tests.helpers import kernel_caches
from tests.helpers.calls import refusal, write
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE, BOB, CAROL, ROOT

SETTINGS = """
[drops]
settle_seconds = 3600
"""


# --- bytes ----------------------------------------------------------------------------------------


def test_an_open_file_outlives_its_name(drive: Drive, folder: Path) -> None:
    def work() -> None:
        fd = os.open(folder / "gone", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"before")
        os.unlink(folder / "gone")
        os.write(fd, b" after")
        assert os.pread(fd, 100, 0) == b"before after"
        os.ftruncate(fd, 3)
        os.fchmod(fd, 0o600)
        os.utime(fd, ns=(5, 6))
        os.setxattr(fd, "user.still", b"here")
        os.fsync(fd)
        status = os.fstat(fd)
        assert (status.st_nlink, status.st_size, status.st_mtime_ns) == (0, 3, 6)
        write(folder / "gone", b"another")
        assert os.pread(fd, 100, 0) == b"bef"
        os.close(fd)

    ALICE.do(work)
    assert os.listdir(drive.backing(folder)) == ["gone"]
    assert (folder / "gone").read_bytes() == b"another"


def test_holes_take_no_space(folder: Path) -> None:
    def work() -> None:
        fd = os.open(folder / "sparse", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 1 << 34)
        os.pwrite(fd, b"end", (1 << 34) - 3)
        assert os.pread(fd, 3, 1 << 33) == b"\0\0\0"
        os.close(fd)

    ALICE.do(work)
    status = os.stat(folder / "sparse")
    assert status.st_size == 1 << 34
    assert status.st_blocks * 512 < 1 << 20


def test_truncation_by_path_and_by_descriptor(folder: Path) -> None:
    ALICE.do(write, folder / "file", b"0123456789")
    ALICE.do(os.truncate, folder / "file", 4)
    ALICE.do(os.truncate, folder / "file", 6)
    assert (folder / "file").read_bytes() == b"0123\0\0"

    def reopen() -> None:
        with open(folder / "file", "r+b") as file:
            file.truncate(2)
            file.seek(4)
            file.write(b"x")

    ALICE.do(reopen)
    assert (folder / "file").read_bytes() == b"01\0\0x"
    ALICE.do(write, folder / "file", b"")
    assert os.stat(folder / "file").st_size == 0


def test_a_mapping_writes_to_the_file(drive: Drive, folder: Path) -> None:
    def work() -> None:
        fd = os.open(folder / "mapped", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 1 << 20)
        with mmap.mmap(fd, 1 << 20) as memory:
            memory[4090:4100] = b"crosspages"
            assert os.pread(fd, 10, 4090) == b"crosspages"
            os.pwrite(fd, b"written", 8192)
            assert memory[8192:8199] == b"written"
            memory[-4:] = b"last"
            os.close(fd)  # the mapping goes on without its descriptor
            memory[:5] = b"first"

    ALICE.do(work)
    backing = drive.backing(folder / "mapped").read_bytes()
    assert (backing[:5], backing[4090:4100], backing[8192:8199]) == (b"first", b"crosspages", b"written")
    assert backing[-4:] == b"last"


def test_two_processes_append_without_losing_a_line(folder: Path) -> None:
    path = folder / "lines"

    def append(mark: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in range(500):
            os.write(fd, b"%s %06d\n" % (mark, number))
        os.close(fd)

    def both() -> None:
        if os.fork() == 0:
            append(b"child!")
            os._exit(0)
        append(b"parent")
        os.wait()

    ALICE.do(both)
    lines = path.read_bytes().splitlines()
    for mark in (b"child!", b"parent"):
        assert [line for line in lines if line.startswith(mark)] == [b"%s %06d" % (mark, n) for n in range(500)]
    assert len(lines) == 1000


def test_many_bytes_come_back_as_they_went(folder: Path) -> None:
    content = os.urandom(5_000_017)

    def work() -> None:
        with open(folder / "large", "wb", buffering=0) as file:
            view = memoryview(content)
            for start in range(0, len(content), 77_777):
                file.write(view[start : start + 77_777])

    ALICE.do(work)
    assert (folder / "large").read_bytes() == content
    ALICE.do(os.rename, folder / "large", folder / "large2")
    kernel_caches.drop(kernel_caches.PAGES)
    assert (folder / "large2").read_bytes() == content


def test_direct_reads_and_writes(folder: Path) -> None:
    def work() -> bytes:
        fd = os.open(folder / "direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        with mmap.mmap(-1, 8192) as memory:
            memory[:] = b"d" * 8192
            os.pwritev(fd, [memory], 0)
            memory[:] = b"\0" * 8192
            os.preadv(fd, [memory], 0)
            return memory[:]

    assert ALICE.do(work) == b"d" * 8192


def test_a_copy_within_the_kernel(folder: Path) -> None:
    content = os.urandom(300_000)
    ALICE.do(write, folder / "source", content)

    def work() -> None:
        with open(folder / "source", "rb") as source, open(folder / "range", "wb") as target:
            done = 0
            while done < len(content):
                done += os.copy_file_range(source.fileno(), target.fileno(), len(content) - done)
        with open(folder / "source", "rb") as source, open(folder / "sent", "wb") as target:
            done = 0
            while done < len(content):
                done += os.sendfile(target.fileno(), source.fileno(), done, len(content) - done)

    ALICE.do(work)
    assert (folder / "range").read_bytes() == (folder / "sent").read_bytes() == content


def test_syncing(folder: Path) -> None:
    def work() -> None:
        fd = os.open(folder / "file", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        os.fdatasync(fd)
        os.fsync(fd)
        directory = os.open(folder, os.O_RDONLY)
        os.fsync(directory)
        os.sync()

    ALICE.do(work)


def test_locks_hold_between_processes(folder: Path) -> None:
    ALICE.do(write, folder / "locked")
    with open(folder / "locked", "r+b") as held:
        for lock in (fcntl.flock, fcntl.lockf):
            lock(held, fcntl.LOCK_EX)
            with pytest.raises(BlockingIOError):
                ALICE.do(lambda lock=lock: lock(open(folder / "locked", "r+b"), fcntl.LOCK_EX | fcntl.LOCK_NB))  # noqa: SIM115
            lock(held, fcntl.LOCK_UN)


# --- attributes -----------------------------------------------------------------------------------


def test_times_are_kept_to_the_nanosecond(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    for times in ((1, 2), (1_700_000_000_123_456_789, 999_999_999_999_999_999), (-5, -1_000_000_001)):
        ALICE.do(lambda times=times: os.utime(folder / "file", ns=times))
        status = os.stat(folder / "file")
        assert (status.st_atime_ns, status.st_mtime_ns) == times
    ALICE.do(lambda: os.utime(folder, ns=(3, 4)))
    assert os.stat(folder).st_mtime_ns == 4


def test_set_user_id_bits_are_not_kept(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    for mode in (0o4755, 0o2755, 0o6755):
        for person in (ALICE, ROOT):
            person.do(os.chmod, folder / "file", mode)
            assert not os.stat(folder / "file").st_mode & (stat.S_ISUID | stat.S_ISGID)
            assert os.stat(folder / "file").st_mode & stat.S_IXUSR


def test_writing_changes_the_time(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    ALICE.do(lambda: os.utime(folder / "file", ns=(1, 1)))
    ALICE.do(lambda: os.close(os.open(folder / "file", os.O_RDONLY)))
    assert os.stat(folder / "file").st_mtime_ns == 1
    ALICE.do(write, folder / "file", b"new")
    assert os.stat(folder / "file").st_mtime_ns > 1


def test_owners_are_roots_to_change(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    assert refusal(os.chown, folder / "file", BOB.uid, -1) == "EPERM"
    ROOT.do(os.chown, folder / "file", BOB.uid, -1)
    assert os.stat(folder / "file").st_uid == BOB.uid
    with pytest.raises(PermissionError):
        ROOT.do(os.chown, folder / "file", -1, CAROL.gid)  # a group of the repository, but not one of Alice's
    ROOT.do(os.chown, folder / "file", -1, 4711)  # none of the repository's: it means nothing here
    assert os.stat(folder / "file").st_gid == ALICE.gid
    ALICE.do(os.symlink, "nowhere", folder / "link")
    ROOT.do(lambda: os.chown(folder / "link", BOB.uid, -1, follow_symlinks=False))
    assert os.lstat(folder / "link").st_uid == BOB.uid


def test_extended_attributes_of_users_are_kept(drive: Drive, folder: Path) -> None:
    path = folder / "file"
    ALICE.do(write, path)
    value = bytes(range(256))
    ALICE.do(os.setxattr, path, "user.binary", value)
    ALICE.do(os.setxattr, path, "user.empty", b"")
    assert os.getxattr(path, "user.binary") == value
    assert os.getxattr(path, "user.empty") == b""
    assert {"user.binary", "user.empty"} <= set(os.listxattr(path))
    assert os.getxattr(drive.backing(path), "user.binary") == value
    assert refusal(os.setxattr, path, "user.binary", b"", os.XATTR_CREATE) == "EEXIST"
    assert refusal(os.setxattr, path, "user.new", b"", os.XATTR_REPLACE) == "ENODATA"
    ALICE.do(os.removexattr, path, "user.binary")
    assert refusal(os.getxattr, path, "user.binary") == "ENODATA"
    assert refusal(os.removexattr, path, "user.binary") == "ENODATA"
    ALICE.do(os.setxattr, folder, "user.of-directory", b"kept")
    assert os.getxattr(folder, "user.of-directory") == b"kept"


# --- the file system ------------------------------------------------------------------------------


def test_statfs_tells_of_the_disk_below(drive: Drive, folder: Path) -> None:
    here, below = os.statvfs(folder), os.statvfs(drive.repository)
    assert (here.f_bsize, here.f_frsize, here.f_blocks, here.f_files, here.f_namemax) == (
        below.f_bsize, below.f_frsize, below.f_blocks, below.f_files, 255,
    )  # fmt: skip


def test_the_kernel_holds_the_permissions(folder: Path) -> None:
    ALICE.do(write, folder / "shared", b"content", 0o600)  # whatever the mode: the group is read-only
    assert BOB.do((folder / "shared").read_bytes) == b"content"
    ALICE.do(os.chmod, folder / "shared", 0)
    with pytest.raises(PermissionError):
        ALICE.do((folder / "shared").read_bytes)  # her own bits are hers
    ALICE.do(os.chmod, folder / "shared", 0o666)
    with pytest.raises(PermissionError):
        BOB.do(write, folder / "shared")
    with pytest.raises(PermissionError):
        BOB.do(os.unlink, folder / "shared")
    with pytest.raises(PermissionError):
        CAROL.do((folder / "shared").read_bytes)  # the group is not hers: the user directory is closed to her


def test_what_is_not_supported_says_so(folder: Path) -> None:
    def fallocate() -> None:
        with open(folder / "file", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, 10)  # glibc falls back to writing
            file.seek(0)

    ALICE.do(fallocate)
    assert os.stat(folder / "file").st_size == 10
    assert refusal(os.open, folder, os.O_TMPFILE | os.O_RDWR) == "ENOTSUP"  # EOPNOTSUPP by its other name
