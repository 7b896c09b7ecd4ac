"""What POSIX and Linux promise of names and directories holds in a user directory, as its owner sees it.

Nothing is imported here: the settle time is longer than the tests.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from repofs.namespace.backing import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.helpers.calls import refusal, rename2, write
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE, CAROL, Person

SETTINGS = """
[drops]
settle_seconds = 3600
"""


# --- making ---------------------------------------------------------------------------------------


def test_a_new_file_belongs_to_its_maker_with_the_mode_she_asked_for(folder: Path) -> None:
    ALICE.do(write, folder / "scan.tif", b"abc", 0o664)
    status = os.stat(folder / "scan.tif")
    # her own bits are as she asked; those of the others, who are in a read-only group, are not hers to say
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE.uid, ALICE.gid, 0o640)
    assert (folder / "scan.tif").read_bytes() == b"abc"


def test_a_directory_hands_its_group_down_whatever_group_its_maker_is_in(folder: Path) -> None:
    elsewhere = Person("alice", ALICE.uid, CAROL.gid, (4711,))
    elsewhere.do(os.mkdir, folder / "below")
    elsewhere.do(write, folder / "below" / "file")
    elsewhere.do(os.symlink, "file", folder / "below" / "link")
    for path in ("below", "below/file", "below/link"):
        assert os.lstat(folder / path).st_gid == ALICE.gid


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
    ALICE.do(os.chmod, folder / "a", 0o700)
    assert os.stat(folder / "b").st_mode & stat.S_IRWXU == 0o700
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
            assert "user.age" not in os.listxattr(folder / "new")
            os.close(held)
            os.unlink(folder / "new")
        return again

    assert ALICE.do(reuse) > 0  # else this test shows nothing


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
