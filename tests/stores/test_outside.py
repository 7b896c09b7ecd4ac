"""What is opened beneath a root is beneath it, is a file, and is one that the caller may read: also under attack."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repofs.errors import AccessDenied, Busy, ChangedWhileReading, InvalidValue, NotFound, NotPermitted
from repofs.repository import outside
from repofs.repository.as_user import Caller
from repofs.repository.durable import RENAME_EXCHANGE
from repofs.repository.outside import Opened, Root, identity_of
from tests.helpers.people import ALICE, BOB, LAB
from tests.stores.test_as_user import as_caller, in_thread, root_only

OPENS = 20_000  # under attack
ME = Caller(os.geteuid(), os.getegid(), tuple(os.getgroups()))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can reach, with a repository, a source and what is beside them."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        os.chmod(place, 0o755)
        for directory in ("repository", "source", "source/day", "beside"):
            (place / directory).mkdir()
        for file in ("repository/scan.tif", "source/scan.tif", "source/day/scan.tif", "beside/scan.tif"):
            (place / file).write_text(file)
        yield place


@pytest.fixture
def root(place: Path) -> Iterator[Root]:
    with root_at(place, "source") as root:
        yield root


def root_at(place: Path, name: str) -> Root:
    return Root.open("scope", place / name, repository=place / "repository")


def open_beneath(root: Root, path: bytes | str, caller: Caller = ME, *, directory: bool = False) -> Opened:
    opened: Opened = in_thread(lambda: outside.open_beneath(root, os.fsencode(path), caller, directory=directory))
    return opened


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def test_a_file_is_opened_with_its_identity(root: Root, place: Path) -> None:
    status = (place / "source/day/scan.tif").stat()
    with no_descriptor_left(), open_beneath(root, "day//./scan.tif") as opened:
        assert os.pread(opened.fd, 100, 0) == b"source/day/scan.tif"
        assert not os.get_inheritable(opened.fd)
        assert opened.identity == identity_of(opened.fd)
        found = opened.identity
    assert (found.device, found.inode, found.size) == (status.st_dev, status.st_ino, status.st_size)
    assert (found.mtime_ns, found.ctime_ns) == (status.st_mtime_ns, status.st_ctime_ns)


def test_a_directory_is_opened_when_one_is_asked_for(root: Root) -> None:
    for path, names in (("day", ["scan.tif"]), (".", ["day", "scan.tif"])):
        with open_beneath(root, path, directory=True) as opened:
            assert sorted(os.listdir(opened.fd)) == names


@pytest.mark.parametrize(("path", "directory"), [("day", False), ("scan.tif", True), (".", False)])
def test_one_asked_for_is_not_the_other(root: Root, path: str, directory: bool) -> None:
    with no_descriptor_left(), pytest.raises(InvalidValue, match=r"is a (file|directory), not a"):
        open_beneath(root, path, directory=directory)


def test_a_file_made_anew_is_another_even_where_its_number_is_the_same(root: Root, place: Path) -> None:
    path = place / "source/scan.tif"
    with open_beneath(root, "scan.tif") as first:
        before = first.identity
    if not before.handle:
        pytest.skip("this file system has no file handles")
    path.unlink()
    path.touch()
    with open_beneath(root, "scan.tif") as second:
        assert second.identity.handle != before.handle


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../beside/scan.tif",
        "day/../../beside/scan.tif",
        "day/..",
        "a\0b",
        "n" * 256,
    ],
)
def test_a_path_that_is_none_below_the_root_is_refused(root: Root, path: str) -> None:
    with no_descriptor_left(), pytest.raises(InvalidValue):
        open_beneath(root, path)


@pytest.mark.parametrize("path", ["missing", "day/missing", "scan.tif/below", "scan.tif/", "n/" * 3000])
def test_what_is_not_there_is_not_found(root: Root, path: str) -> None:
    with no_descriptor_left(), pytest.raises(NotFound):
        open_beneath(root, path)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("scan.tif", "link"),  # beneath
        ("day", "link/scan.tif"),
        ("link", "link"),  # a loop
        ("link/link", "link/scan.tif"),
        ("../beside", "link/scan.tif"),
        ("../repository/scan.tif", "link"),
        ("/etc", "link/passwd"),
        ("/proc/self/root", "link/etc/passwd"),
        ("/proc/self/fd/0", "link"),
    ],
)
@pytest.mark.parametrize("directory", [False, True])
def test_symlinks_are_refused(root: Root, place: Path, target: str, path: str, directory: bool) -> None:
    (place / "source/link").symlink_to(target)
    with no_descriptor_left(), pytest.raises(InvalidValue, match="symbolic link"):
        open_beneath(root, path, directory=directory)


@pytest.mark.parametrize("path", ["root/etc/passwd", "cwd", "exe", "fd/0", "ns/mnt"])
def test_magic_links_are_refused(place: Path, path: str) -> None:
    with Root.open("process", Path(f"/proc/{os.getpid()}"), repository=place / "repository") as root:
        with no_descriptor_left(), pytest.raises(InvalidValue, match="symbolic link"):
            open_beneath(root, path)


@pytest.mark.parametrize("path", ["proc/self/status", "proc/self/root/etc/passwd", "dev/null"])
def test_another_mount_is_refused(place: Path, path: str) -> None:
    with Root.open("all", Path("/"), repository=place / "repository") as root:
        with no_descriptor_left(), pytest.raises(InvalidValue, match="another mount"):
            open_beneath(root, path)


@pytest.mark.timeout(10, method="thread")
@pytest.mark.parametrize("directory", [False, True])
def test_what_is_no_file_is_refused_at_once(root: Root, place: Path, directory: bool) -> None:
    os.mkfifo(place / "source/fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "source/socket"))
    for name in ("fifo", "socket"):
        with no_descriptor_left(), pytest.raises(NotPermitted, match="a FIFO, a socket or a device"):
            open_beneath(root, name, directory=directory)


@root_only
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("number", [os.makedev(1, 3), os.makedev(250, 99)])  # /dev/null, and one without a driver
def test_devices_are_refused(root: Root, place: Path, kind: int, number: int) -> None:
    os.mknod(place / "source/device", kind | 0o666, number)
    with no_descriptor_left(), pytest.raises(NotPermitted):
        open_beneath(root, "device")


@pytest.mark.timeout(10, method="thread")
def test_a_lease_does_not_make_the_daemon_wait(root: Root, place: Path) -> None:
    told = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        with open(place / "source/scan.tif", "r+b") as file:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            with pytest.raises(Busy):
                open_beneath(root, "scan.tif")
    finally:
        signal.signal(signal.SIGIO, told)


def test_a_root_above_the_repository_does_not_lead_into_it(place: Path) -> None:
    (place / "repository-of-slides").mkdir()
    (place / "repository-of-slides/scan.tif").touch()
    with root_at(place, ".") as root:
        for path, directory in (("repository/scan.tif", False), ("repository", True), ("./repository//.", True)):
            with no_descriptor_left(), pytest.raises(InvalidValue, match="in the repository"):
                open_beneath(root, path, directory=directory)
        open_beneath(root, "repository-of-slides/scan.tif").close()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("repository", InvalidValue),
        ("to-repository", InvalidValue),
        ("missing", NotFound),
        ("source/scan.tif", NotFound),
    ],
)
def test_a_root_is_a_directory_outside(place: Path, name: str, error: type[Exception]) -> None:
    (place / "to-repository").symlink_to("repository")
    with no_descriptor_left(), pytest.raises(error):
        root_at(place, name)
    with pytest.raises(InvalidValue, match="starts with /"):
        Root.open("scope", Path("source"), repository=place)


def test_a_root_may_be_reached_over_a_symlink_of_the_administrator(place: Path) -> None:
    (place / "to-source").symlink_to("source")
    with root_at(place, "to-source") as root:
        open_beneath(root, "scan.tif").close()


def test_a_root_that_went_or_was_replaced_is_not_found(root: Root, place: Path) -> None:
    (place / "source").rename(place / "old")
    with no_descriptor_left(), pytest.raises(NotFound, match="is away"):
        open_beneath(root, "scan.tif")
    (place / "source").symlink_to("beside")
    with no_descriptor_left(), pytest.raises(NotFound, match="another directory"):
        open_beneath(root, "scan.tif")


@root_only
def test_the_caller_must_be_able_to_read_the_file_and_to_reach_it_and_the_root(place: Path, root: Root) -> None:
    ways = [(place, 0o711), (place / "source", 0o711), (place / "source/day", 0o711)]
    ways += [(place / "source/day/scan.tif", 0o444)]
    for path, _ in ways:
        os.chown(path, ALICE.uid, LAB)
    for path, open_to_all in ways:
        path.chmod(open_to_all)
    open_beneath(root, "day/scan.tif", as_caller(BOB)).close()
    for path, open_to_all in ways:
        path.chmod(open_to_all & 0o700)
        open_beneath(root, "day/scan.tif", as_caller(ALICE)).close()
        with no_descriptor_left(), pytest.raises(AccessDenied, match=f"uid {BOB.uid} may not"):
            open_beneath(root, "day/scan.tif", as_caller(BOB))
        path.chmod(open_to_all)


@given(name=st.binary(min_size=1, max_size=255).filter(lambda name: not set(name) & set(b"/\0")))
@example(name=b"\xff\xfe \n\x1b[2J")
@example(name=b"...")
def test_a_name_may_be_of_any_bytes(name: bytes) -> None:
    if name in (b".", b".."):
        return
    with tempfile.TemporaryDirectory() as place, Root.open("x", Path(place), repository=Path("/nowhere")) as root:
        path = os.path.join(os.fsencode(place), name)
        with pytest.raises(NotFound):
            open_beneath(root, name)
        os.mkdir(path)
        with pytest.raises(InvalidValue):
            open_beneath(root, name)
        open_beneath(root, name, directory=True).close()


@contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """A process that exchanges two names without end, until the end of the `with`."""
    libc = ctypes.CDLL(None, use_errno=True)
    here, names = -100, (os.fsencode(one), os.fsencode(other))
    parent, child = os.getpid(), os.fork()
    if child == 0:
        while os.getppid() == parent and libc.renameat2(here, names[0], here, names[1], RENAME_EXCHANGE) == 0:
            pass
        os._exit(1)
    yield
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the attacker gave up"


@pytest.mark.parametrize("swapped", ["directory", "file"])
@pytest.mark.parametrize(("target", "name"), [("/etc", "passwd"), ("repository", "scan.tif"), ("beside", "scan.tif")])
def test_what_is_swapped_for_a_symlink_never_leads_out(
    root: Root, place: Path, target: str, name: str, swapped: str
) -> None:
    (place / "source/day" / name).write_text("safe")
    there = Path("day") if swapped == "directory" else Path("day", name)
    (place / "source/link").symlink_to(place / target if swapped == "directory" else place / target / name)
    caller = as_caller(BOB) if ME.uid == 0 else ME

    def attack() -> Counter[str]:
        seen: Counter[str] = Counter()
        for _ in range(OPENS):
            try:
                with outside.open_beneath(root, b"day/" + os.fsencode(name), caller) as opened:
                    seen["safe" if os.pread(opened.fd, 10, 0) == b"safe" else "escaped"] += 1
            except InvalidValue:
                seen["refused"] += 1
        return seen

    with no_descriptor_left(), swapping(place / "source" / there, place / "source/link"):
        seen = in_thread(attack)
    assert seen["safe"] > 0
    assert seen["refused"] > 0
    assert seen["safe"] + seen["refused"] == OPENS, seen


# --- removing ------------------------------------------------------------------------------------


def remove(root: Root, path: bytes, opened: Opened) -> None:
    in_thread(lambda: outside.remove_beneath(root, path, opened.identity, ME))


def test_the_file_that_it_was_is_removed(root: Root, place: Path) -> None:
    with open_beneath(root, b"day/scan.tif") as opened:
        remove(root, b"day/scan.tif", opened)
    assert not (place / "source/day/scan.tif").exists()


def test_a_file_is_removed_though_its_directory_cannot_be_synced(
    root: Root, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    with open_beneath(root, b"day/scan.tif") as opened:
        monkeypatch.setattr(os, "fsync", fails)
        remove(root, b"day/scan.tif", opened)
    assert not (place / "source/day/scan.tif").exists()


def test_another_file_of_the_name_is_kept(root: Root, place: Path) -> None:
    with open_beneath(root, b"day/scan.tif") as opened:
        (place / "source/day/scan.tif").rename(place / "source/day/other")
        (place / "source/day/scan.tif").write_text("source/day/scan.tif")
        with pytest.raises(ChangedWhileReading):
            remove(root, b"day/scan.tif", opened)
    assert (place / "source/day/scan.tif").exists()


def test_directories_exchanged_all_the_while_lose_nothing_else(root: Root, place: Path) -> None:
    """What is looked at and what is unlinked lie in one directory, whatever its name leads to by now."""
    mine, theirs = place / "source/day", place / "source/theirs"
    theirs.mkdir()
    (theirs / "scan.tif").write_text("theirs")
    my_fd, their_fd = os.open(mine, os.O_RDONLY), os.open(theirs, os.O_RDONLY)
    removed = 0
    with swapping(mine, theirs):
        for _ in range(300):
            fd = os.open("scan.tif", os.O_RDWR | os.O_CREAT, dir_fd=my_fd)
            identity = identity_of(fd)
            os.close(fd)
            with contextlib.suppress(ChangedWhileReading, NotFound):
                in_thread(lambda identity=identity: outside.remove_beneath(root, b"day/scan.tif", identity, ME))
                removed += 1
            os.stat("scan.tif", dir_fd=their_fd)
    assert removed > 10
    os.close(my_fd)
    os.close(their_fd)


def test_a_descriptor_that_is_refused_is_closed(place: Path) -> None:
    for refused in (place / "source/scan.tif", place / "repository"):
        fd = os.open(refused, os.O_PATH)
        with pytest.raises(InvalidValue):
            Root.given(fd, refused, repository=place / "repository")
        with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
            os.fstat(fd)
