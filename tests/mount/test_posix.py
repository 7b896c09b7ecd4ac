"""What POSIX and Linux promise of a file system holds in a user directory, seen through the kernel as its owner.

Nothing is imported here: the settle time is longer than the tests.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from repofs.namespace.backing import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE, BOB, CAROL, ROOT

SETTINGS = """
[drops]
settle_seconds = 3600
"""

AT_FDCWD = -100


def write(path: Path | str | bytes, content: bytes = b"content", mode: int = 0o666) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    assert os.write(fd, content) == len(content)
    os.close(fd)


def refusal(function: Callable[..., object], *arguments: object) -> str:
    """Return the name of the errno by which Alice is refused."""
    with pytest.raises(OSError) as caught:
        ALICE.do(function, *arguments)
    return errno.errorcode[caught.value.errno or 0]


def rename2(source: Path, target: Path, flags: int) -> None:
    renameat2(AT_FDCWD, bytes(source), AT_FDCWD, bytes(target), flags)


# --- making ---------------------------------------------------------------------------------------


def test_a_new_file_belongs_to_its_maker_with_the_mode_she_asked_for(folder: Path) -> None:
    ALICE.do(write, folder / "scan.tif", b"abc", 0o664)
    status = os.stat(folder / "scan.tif")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE.uid, ALICE.gid, 0o644)
    assert (folder / "scan.tif").read_bytes() == b"abc"


def test_a_directory_hands_its_group_down_when_it_is_set_group_id(folder: Path) -> None:
    os.chown(folder, ALICE.uid, CAROL.gid)
    os.chmod(folder, 0o2755)
    ALICE.do(os.mkdir, folder / "below")
    ALICE.do(write, folder / "below" / "file")
    assert os.stat(folder / "below").st_mode & stat.S_ISGID
    assert os.stat(folder / "below" / "file").st_gid == CAROL.gid


def test_exclusive_creation_has_one_winner(folder: Path) -> None:
    path = folder / "lock"

    def race() -> int:
        wins = 0
        for number in range(200):
            try:
                os.close(os.open(f"{path}{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                wins += 1
            except FileExistsError:
                pass
        return wins

    def two() -> int:
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, b"%d" % race())
            os._exit(0)
        mine = race()
        os.wait()
        return mine + int(os.read(reader, 100))

    assert ALICE.do(two) == 200


NAMES = [
    b"with space", b"new\nline", b"tab\t", b"back\\slash", b"quote\"'", b"-rf", b"*", b"\xff\xfe not UTF-8", b"\x01",
    "grüße-日本語".encode(), "e\u0301".encode(), "é".encode(), b"trailing.", b"trailing ", b"...", b"a:b", b"CON",
    b"n" * 255,
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=[ascii(name[:20]) for name in NAMES])
def test_any_name_round_trips(drive: Drive, folder: Path, name: bytes) -> None:
    path = bytes(folder) + b"/" + name
    ALICE.do(write, path, name)
    assert os.listdir(bytes(folder)) == [name]
    assert os.listdir(bytes(drive.backing(folder))) == [name]
    ALICE.do(os.rename, path, bytes(folder) + b"/other")
    ALICE.do(os.mkdir, path)
    ALICE.do(os.rename, bytes(folder) + b"/other", path + b"/" + name)
    with open(path + b"/" + name, "rb") as file:
        assert file.read() == name


def test_a_name_of_256_bytes_is_too_long(folder: Path) -> None:
    assert refusal(write, folder / ("n" * 256)) == "ENAMETOOLONG"
    assert refusal(os.mkdir, folder / ("n" * 256)) == "ENAMETOOLONG"


def test_a_path_longer_than_PATH_MAX_is_reached_step_by_step(folder: Path) -> None:
    def descend() -> bytes:
        directory = os.open(folder, os.O_RDONLY)
        for _ in range(25):
            os.mkdir("d" * 250, dir_fd=directory)
            directory = os.open("d" * 250, os.O_RDONLY, dir_fd=directory)
        file = os.open("deep", os.O_CREAT | os.O_RDWR, 0o644, dir_fd=directory)
        os.write(file, b"deep")
        os.rename("deep", "deeper", src_dir_fd=directory, dst_dir_fd=directory)
        os.setxattr(file, "user.depth", b"25")
        os.utime("deeper", ns=(1, 2), dir_fd=directory)
        assert os.stat("deeper", dir_fd=directory).st_mtime_ns == 2
        assert os.getxattr(file, "user.depth") == b"25"
        assert os.listdir(directory) == ["deeper"]
        return os.pread(file, 10, 0)

    assert ALICE.do(descend) == b"deep"


# --- names ----------------------------------------------------------------------------------------


def test_rename_replaces_a_file(folder: Path) -> None:
    ALICE.do(write, folder / "new", b"new")
    ALICE.do(write, folder / "old", b"old")
    ALICE.do(os.rename, folder / "new", folder / "old")
    assert os.listdir(folder) == ["old"]
    assert (folder / "old").read_bytes() == b"new"


def test_rename_refuses_what_cannot_be(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    ALICE.do(os.makedirs, folder / "directory" / "below")
    ALICE.do(os.mkdir, folder / "empty")
    assert refusal(os.rename, folder / "file", folder / "directory") == "EISDIR"
    assert refusal(os.rename, folder / "directory", folder / "file") == "ENOTDIR"
    assert refusal(os.rename, folder / "empty", folder / "directory") == "ENOTEMPTY"
    assert refusal(os.rename, folder / "directory", folder / "directory" / "below" / "x") == "EINVAL"
    assert refusal(os.rename, folder / "missing", folder / "x") == "ENOENT"


def test_rename_without_replacing(folder: Path) -> None:
    ALICE.do(write, folder / "a", b"a")
    ALICE.do(write, folder / "b", b"b")
    assert refusal(rename2, folder / "a", folder / "b", RENAME_NOREPLACE) == "EEXIST"
    ALICE.do(rename2, folder / "a", folder / "c", RENAME_NOREPLACE)
    assert sorted(os.listdir(folder)) == ["b", "c"]


def test_rename_by_exchange(folder: Path) -> None:
    ALICE.do(write, folder / "a", b"a")
    ALICE.do(os.mkdir, folder / "d")
    ALICE.do(write, folder / "d" / "below", b"below")
    before = os.stat(folder / "a").st_ino
    ALICE.do(rename2, folder / "a", folder / "d", RENAME_EXCHANGE)
    assert (folder / "d").read_bytes() == b"a"
    assert os.stat(folder / "d").st_ino == before
    assert (folder / "a" / "below").read_bytes() == b"below"
    assert refusal(rename2, folder / "a", folder / "missing", RENAME_EXCHANGE) == "ENOENT"


def test_a_directory_is_renamed_around_an_open_file(drive: Drive, folder: Path) -> None:
    def work() -> None:
        os.makedirs(folder / "a" / "b")
        fd = os.open(folder / "a" / "b" / "file", os.O_CREAT | os.O_RDWR)
        os.write(fd, b"one")
        os.rename(folder / "a", folder / "z")
        os.write(fd, b" two")
        os.ftruncate(fd, 5)
        os.close(fd)

    ALICE.do(work)
    assert (folder / "z" / "b" / "file").read_bytes() == b"one t"
    assert drive.backing(folder / "z" / "b" / "file").read_bytes() == b"one t"


def test_hard_links_are_one_inode(folder: Path) -> None:
    ALICE.do(write, folder / "a", b"first")
    ALICE.do(os.link, folder / "a", folder / "b")
    one, two = os.stat(folder / "a"), os.stat(folder / "b")
    assert (one.st_ino, one.st_nlink) == (two.st_ino, two.st_nlink) == (one.st_ino, 2)
    ALICE.do(write, folder / "b", b"through b")
    assert (folder / "a").read_bytes() == b"through b"
    ALICE.do(os.chmod, folder / "a", 0o600)
    assert stat.S_IMODE(os.stat(folder / "b").st_mode) == 0o600
    ALICE.do(os.rename, folder / "a", folder / "b")  # two names of one inode: nothing happens
    assert sorted(os.listdir(folder)) == ["a", "b"]
    ALICE.do(os.unlink, folder / "a")
    assert os.stat(folder / "b").st_nlink == 1
    assert (folder / "b").read_bytes() == b"through b"
    assert refusal(os.link, folder / "missing", folder / "c") == "ENOENT"
    assert refusal(os.link, folder, folder / "c") == "EPERM"


def test_symbolic_links_keep_what_they_say(folder: Path) -> None:
    for number, target in enumerate([b"file", b"/outside/\xff", b"../..", b"x" * 4000]):
        link = bytes(folder) + b"/link%d" % number
        ALICE.do(os.symlink, target, link)
        assert os.readlink(link) == target
        assert os.lstat(link).st_uid == ALICE.uid
        assert os.lstat(link).st_size == len(target)
    ALICE.do(write, folder / "link0", b"through the link")
    assert (folder / "file").read_bytes() == b"through the link"


def test_removing(folder: Path) -> None:
    ALICE.do(os.makedirs, folder / "a" / "b")
    ALICE.do(write, folder / "file")
    assert refusal(os.rmdir, folder / "a") == "ENOTEMPTY"
    assert refusal(os.rmdir, folder / "file") == "ENOTDIR"
    assert refusal(os.unlink, folder / "a") == "EISDIR"
    assert refusal(os.unlink, folder / "missing") == "ENOENT"
    ALICE.do(os.removedirs, folder / "a" / "b")
    ALICE.do(os.unlink, folder / "file")
    assert not folder.exists() or os.listdir(folder) == []


def test_an_inode_number_that_is_given_again_is_another_file(folder: Path) -> None:
    def reuse() -> int:
        again = 0
        for number in range(100):
            write(folder / "old", b"old %d" % number)
            os.setxattr(folder / "old", "user.age", b"old")
            held = os.open(folder / "old", os.O_PATH)
            before = os.stat(folder / "old").st_ino
            os.unlink(folder / "old")
            write(folder / "new", b"new %d" % number)
            again += os.stat(folder / "new").st_ino == before
            with open(folder / "new", "rb") as file:
                assert file.read() == b"new %d" % number
            assert os.listxattr(folder / "new") == ["user.repofs.state"]
            os.close(held)
            os.unlink(folder / "new")
        return again

    assert ALICE.do(reuse) > 0  # else this test shows nothing


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
    ROOT.run("sh", "-c", "echo 1 > /proc/sys/vm/drop_caches")
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


def test_writing_changes_the_time_and_clears_the_set_user_id_bit(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    ALICE.do(os.chmod, folder / "file", 0o4755)
    ALICE.do(lambda: os.utime(folder / "file", ns=(1, 1)))
    ALICE.do(lambda: os.close(os.open(folder / "file", os.O_RDONLY)))
    assert os.stat(folder / "file").st_mtime_ns == 1
    assert os.stat(folder / "file").st_mode & stat.S_ISUID
    ALICE.do(write, folder / "file", b"new")
    assert os.stat(folder / "file").st_mtime_ns > 1
    assert not os.stat(folder / "file").st_mode & stat.S_ISUID


def test_owners_are_roots_to_change(folder: Path) -> None:
    ALICE.do(write, folder / "file")
    assert refusal(os.chown, folder / "file", BOB.uid, -1) == "EPERM"
    ROOT.do(os.chown, folder / "file", BOB.uid, CAROL.gid)
    status = os.stat(folder / "file")
    assert (status.st_uid, status.st_gid) == (BOB.uid, CAROL.gid)
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


# --- directories ----------------------------------------------------------------------------------


def test_a_listing_stays_right_while_the_directory_changes(folder: Path) -> None:
    def work() -> tuple[list[str], set[str]]:
        for number in range(2000):
            os.close(os.open(folder / f"{number:04d}", os.O_CREAT | os.O_WRONLY))
        seen = []
        stays = {f"{number:04d}" for number in range(1, 2000, 2)}
        with os.scandir(folder) as entries:
            for count, entry in enumerate(entries):
                seen.append(entry.name)
                if count == 10:  # the rest is still to be read
                    for number in range(0, 2000, 2):
                        os.unlink(folder / f"{number:04d}")
                    for number in range(500):
                        os.rename(folder / f"{2 * number + 1:04d}", folder / f"{2 * number + 1:04d}x")
                        os.rename(folder / f"{2 * number + 1:04d}x", folder / f"{2 * number + 1:04d}")
        return seen, stays

    seen, stays = ALICE.do(work)
    assert len(seen) == len(set(seen))
    assert stays <= set(seen)
    assert set(os.listdir(folder)) == stays


def test_rewinding_lists_what_is_there_now(folder: Path) -> None:
    ALICE.do(write, folder / "a")
    fd = os.open(folder, os.O_RDONLY)
    assert os.listdir(fd) == ["a"]
    ALICE.do(write, folder / "b")
    assert sorted(os.listdir(fd)) == ["a", "b"]
    os.close(fd)


def test_a_removed_directory_is_empty_to_who_stands_in_it(folder: Path) -> None:
    def work() -> str:
        os.mkdir(folder / "gone")
        fd = os.open(folder / "gone", os.O_RDONLY)
        os.rmdir(folder / "gone")
        assert os.listdir(fd) == []
        try:
            os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
        except FileNotFoundError:
            return "refused"
        return "made"

    assert ALICE.do(work) == "refused"


def test_link_counts_and_dot_dot(folder: Path) -> None:
    ALICE.do(os.makedirs, folder / "a" / "b")
    assert os.stat(folder / "a").st_nlink == 3
    assert os.stat(folder / "a" / "b" / "..").st_ino == os.stat(folder / "a").st_ino
    ALICE.do(os.rename, folder / "a" / "b", folder / "b")
    assert os.stat(folder / "a").st_nlink == 2
    assert os.stat(folder / "b" / "..").st_ino == os.stat(folder).st_ino


# --- the file system ------------------------------------------------------------------------------


def test_statfs_tells_of_the_disk_below(drive: Drive, folder: Path) -> None:
    here, below = os.statvfs(folder), os.statvfs(drive.repository)
    assert (here.f_bsize, here.f_frsize, here.f_blocks, here.f_files, here.f_namemax) == (
        below.f_bsize, below.f_frsize, below.f_blocks, below.f_files, 255,
    )  # fmt: skip


def test_the_kernel_holds_the_permissions(folder: Path) -> None:
    ALICE.do(write, folder / "shared")
    ALICE.do(write, folder / "private", b"mine", 0o600)
    assert BOB.do((folder / "shared").read_bytes) == b"content"
    with pytest.raises(PermissionError):
        BOB.do((folder / "private").read_bytes)
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
