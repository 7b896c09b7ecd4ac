"""No request ends the mount: what is not allowed gets its errno, what nobody foresaw EIO and a traceback in the log."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, Drive, fact, mounted
from tests.helpers.people import ALICE, ROOT, Person

FAULTY = (sys.executable, "-m", "tests.helpers.faulty_daemon")


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Drive]:
    """One mount for this module, whose daemon can be made to stumble."""
    with mounted(QUICK, FAULTY) as drive:
        yield drive


def refusal(person: Person, function: Callable[..., object], *arguments: object) -> str:
    """Return the name of the errno by which *person* is refused."""
    with pytest.raises(OSError) as caught:
        person.do(function, *arguments)
    return errno.errorcode[caught.value.errno or 0]


def fault(folder: Path, method: str) -> Path:
    return folder / f"fault-{method}"


def make(path: Path, content: bytes = b"content") -> None:
    path.write_bytes(content)


# --- faults of the house --------------------------------------------------------------------------


def _write(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(b"x")


def _read(path: Path) -> None:
    make(path)
    os.posix_fadvise(os.open(path, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    with open(path, "rb", buffering=0) as file:
        file.read()


STUMBLES: dict[str, Callable[[Path], object]] = {
    "lookup": os.stat,
    "mkdir": os.mkdir,
    "rename": lambda path: (make(path), os.rename(path, path.with_name("new"))),
    "unlink": lambda path: (make(path), os.unlink(path)),
    "setattr": lambda path: (make(path), os.chmod(path, 0o600)),
    "symlink": lambda path: os.symlink("x", path),
    "create": make,
    "open": lambda path: (os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)), os.open(path, os.O_RDONLY)),
    "read": _read,
    "write": _write,
    "flush": make,
    "entries": lambda path: (os.mkdir(path), os.listdir(path)),
    "get": lambda path: (make(path), os.getxattr(path, "user.repofs.state")),
}


@pytest.mark.parametrize("method", STUMBLES)
def test_an_unforeseen_exception_is_EIO_and_logged(drive: Drive, folder: Path, method: str) -> None:
    drive.allowed = ["a request has failed in an unforeseen way"]
    assert refusal(ALICE, STUMBLES[method], fault(folder, method)) == "EIO"
    logged = [json.loads(line) for line in drive.new_log_lines()]
    assert any("Fault: " in str(line.get("exception")) and "Traceback" in line["exception"] for line in logged)
    assert all(line["times"] >= 1 for line in logged if line["level"] == "error")
    ALICE.do(make, folder / "after.bin")
    drive.wait_imported(folder / "after.bin")


def test_a_fault_at_the_last_close_leaves_the_mount_whole(drive: Drive, folder: Path) -> None:
    drive.allowed = ["a request has failed in an unforeseen way"]
    ALICE.do(make, fault(folder, "closed"))  # a last close has nobody to tell
    ALICE.do(make, folder / "after.bin")
    drive.wait_imported(folder / "after.bin")


# --- what is refused ------------------------------------------------------------------------------


def _bind(path: Path) -> None:
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


NODES: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "socket": _bind,
    "character device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "block device": lambda path: os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0)),
}


@pytest.mark.parametrize("kind", NODES)
def test_special_files_are_refused(folder: Path, kind: str) -> None:
    person = ROOT if "device" in kind else ALICE  # the kernel lets only root ask for a device
    assert refusal(person, NODES[kind], folder / "node") == "EPERM"
    assert os.listdir(folder) == []


def test_mknod_makes_regular_files(drive: Drive, folder: Path) -> None:
    ALICE.do(os.mknod, folder / "file", stat.S_IFREG | 0o640)
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o640
    ALICE.do(make, folder / "file")
    drive.wait_imported(folder / "file")


RESERVED: dict[str, Callable[[Path], object]] = {
    "mkdir": os.mkdir,
    "create": make,
    "symlink": lambda path: os.symlink("x", path),
    "rename": lambda path: (os.mkdir(path.with_name("dir")), os.rename(path.with_name("dir"), path)),
    "link": lambda path: (make(path.with_name(".f")), os.link(path.with_name(".f"), path)),
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o600),
}


@pytest.mark.parametrize("route", RESERVED)
@pytest.mark.parametrize("name", ["1999-01", "2026-12"])
def test_names_of_import_directories_are_reserved(drive: Drive, route: str, name: str) -> None:
    home = drive.home(ALICE)
    try:
        assert refusal(ALICE, RESERVED[route], home / name) == "EINVAL"
        assert not (home / name).exists()
    finally:
        ALICE.run("rm", "-rf", home / "dir", home / ".f")


def test_names_of_import_directories_are_free_further_down(drive: Drive, folder: Path) -> None:
    ALICE.do(os.mkdir, folder / "1999-01")
    ALICE.do(make, folder / "1999-01" / "scan.bin")
    drive.wait_imported(folder / "1999-01" / "scan.bin")


@pytest.mark.parametrize("name", ["new", ".staging", ".repofs", "alice_9"])
def test_nothing_is_made_beside_the_user_directories(drive: Drive, name: str) -> None:
    path = drive.mountpoint / name
    expected = "EEXIST" if name == ".repofs" else "EPERM"
    assert refusal(ROOT, os.mkdir, path) == expected
    assert refusal(ROOT, os.symlink, "x", path) == expected
    with pytest.raises(PermissionError):
        ALICE.do(os.mkdir, drive.mountpoint / f"{name}x")


def test_the_repositorys_own_directories_stay_as_they_are(drive: Drive) -> None:
    own = drive.mountpoint / ".repofs" / "log"
    assert refusal(ROOT, make, own / "new") == "EPERM"
    assert refusal(ROOT, os.rmdir, own) == "EPERM"
    assert refusal(ROOT, os.chmod, own, 0o777) == "EPERM"
    assert refusal(ROOT, os.rename, own, drive.home(ALICE) / "log") == "EPERM"
    assert refusal(ROOT, os.rmdir, drive.home(ALICE)) == "EPERM"
    assert refusal(ROOT, os.rename, drive.home(ALICE), drive.mountpoint / "other") == "EPERM"
    assert refusal(ROOT, os.setxattr, own, "user.mine", b"x") == "EPERM"
    assert refusal(ROOT, os.stat, drive.mountpoint / ".staging") == "ENOENT"
    assert ".staging" not in os.listdir(drive.mountpoint)


# --- odd requests ---------------------------------------------------------------------------------

ODD_NAMES = [
    b"user.repofs.", b"user.repofs.\xff\xfe", b"user.repofs.mark", b"user.repofs.a\nb", b"user.repofs.state\x01",
    b"user.repofs." + b"x" * 240, b"user.repofs.Fileset:1", b"user.repofs.:", b"user.\xff", b"user." + b"y" * 250,
    b"trusted.mine", b"security.selinux", b"security.capability", b"system.posix_acl_access", b"system.odd",
]  # fmt: skip
ODD_VALUES = [b"", b"\0", b"\xff" * 300, b"x" * 65_536]
ANSWERS = {"EINVAL", "ENODATA", "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSPC", "E2BIG", "ERANGE"}


@pytest.mark.parametrize("name", ODD_NAMES, ids=[ascii(name[:30]) for name in ODD_NAMES])
def test_odd_attributes_get_an_answer(drive: Drive, folder: Path, name: bytes) -> None:
    ALICE.do(make, folder / ".file")
    for path in (folder, folder / ".file", drive.mountpoint):
        for value in ODD_VALUES:
            for flags in (0, os.XATTR_CREATE, os.XATTR_REPLACE):
                assert _answer(os.setxattr, path, name, value, flags) in {"", "EEXIST", *ANSWERS}
        assert _answer(os.getxattr, path, name) in {"", *ANSWERS}
        assert _answer(os.removexattr, path, name) in {"", *ANSWERS}
        assert _answer(os.listxattr, path) == ""
    assert os.stat(drive.backing(folder) / ".file").st_nlink == 1


def _answer(function: Callable[..., object], *arguments: object) -> str:
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def test_a_mark_cannot_be_set_or_seen_through_the_mount(drive: Drive, folder: Path) -> None:
    path = folder / "file.bin"
    ALICE.do(make, path)
    drive.wait_imported(path)
    kept = os.getxattr(drive.backing(path), "user.repofs.mark")
    ALICE.do(make, folder / ".other")
    for target in (path, folder / ".other"):
        assert refusal(ALICE, os.setxattr, target, "user.repofs.mark", kept) == "EINVAL"
        assert refusal(ALICE, os.getxattr, target, "user.repofs.mark") == "ENODATA"
        assert refusal(ALICE, os.removexattr, target, "user.repofs.mark") == "ENODATA"
    assert fact(folder / ".other", "state") == "incomplete"
    assert os.getxattr(drive.backing(path), "user.repofs.mark") == kept


def test_a_forged_mark_does_not_make_an_original(drive: Drive, folder: Path) -> None:
    drive.allowed = ["forged"]
    path = folder / ".file"
    ALICE.do(make, path)
    ALICE.do(os.rename, path, folder / ".renamed")
    os.setxattr(drive.backing(folder / ".renamed"), "user.repofs.mark", b"made up by somebody")
    drive.stop()
    drive.start(FAULTY)
    assert fact(folder / ".renamed", "state") == "incomplete"
    ALICE.do(make, folder / ".renamed", b"still hers to write")


@pytest.mark.parametrize("seconds", [-(2**40), 2**31, 2**35, 2**50, 2**62])
def test_odd_times_get_an_answer(folder: Path, seconds: int) -> None:
    ALICE.do(make, folder / ".file")
    assert _answer(os.utime, folder / ".file", (seconds, seconds)) in {"", "EINVAL", "EOVERFLOW"}
    assert (folder / ".file").read_bytes() == b"content"


def test_odd_offsets_and_sizes_get_an_answer(folder: Path) -> None:
    ALICE.do(make, folder / ".file")
    with open(folder / ".file", "r+b", buffering=0) as file:
        for offset in (2**44 - 1, 2**62, 2**63 - 2):
            assert _answer(os.pwrite, file.fileno(), b"x", offset) in {"", "EFBIG", "EINVAL"}
            assert _answer(os.ftruncate, file.fileno(), offset) in {"", "EFBIG", "EINVAL"}
            assert _answer(os.pread, file.fileno(), 10, offset) in {"", "EINVAL"}
        file.truncate(7)


def test_odd_names_get_an_answer(folder: Path) -> None:
    for name in (b"\xff" * 255, b"\xc0\xaf", b"..\xff", b"\x80.tif"):
        path = bytes(folder) + b"/" + name
        ALICE.do(lambda path=path: Path(os.fsdecode(path)).write_bytes(b"x"))
        ALICE.do(os.setxattr, path, "user.repofs.import", b"cancel")
        assert b"incomplete" in os.getxattr(path, "user.repofs.state")
        os.getxattr(folder, "user.repofs.status")
        ALICE.do(os.rename, path, bytes(folder) + b"/.again")
    assert _answer(os.symlink, "x" * 5000, folder / "link") == "ENAMETOOLONG"
