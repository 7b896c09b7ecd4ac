"""Imports in place by symbolic links and by `user.repofs.import.link`, as real users, in a real mount."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import tifffile

from tests.helpers.mounting import QUICK, Drive, fact, facts
from tests.helpers.people import ALICE, BOB, CAROL
from tests.helpers.waiting import until

SETTINGS = (
    QUICK
    + """
[[sources]]
name = "scope1"
path = "@outside@"
[[sources]]
name = "memory"
path = "/dev/shm"
"""
)
CONTENT = b"what the microscope saw\n" * 1000


def link(path: Path, name: Path) -> None:
    ALICE.do(os.symlink, path, name)


def command(directory: Path, **value: str) -> None:
    ALICE.do(os.setxattr, directory, b"user.repofs.import.link", json.dumps(value).encode())


def refused(directory: Path) -> str:
    return os.getxattr(directory, "user.repofs.error").decode()


def test_inplace_manual_symlink(drive: Drive, folder: Path, scan: Path) -> None:
    link(scan, folder / "scan.tif")
    assert (folder / "scan.tif").is_file() and not (folder / "scan.tif").is_symlink()
    assert ALICE.do(Path.read_bytes, folder / "scan.tif") == scan.read_bytes()  # from the first moment
    drive.wait_imported(folder / "scan.tif")
    status, source = (folder / "scan.tif").stat(), scan.stat()
    assert (status.st_size, status.st_mtime_ns, status.st_uid) == (source.st_size, source.st_mtime_ns, ALICE.uid)
    assert facts(folder / "scan.tif")["transfer"] == "ln_s"
    assert drive.backing(folder / "scan.tif").stat().st_blocks * 512 < source.st_size
    original = drive.original_of(folder / "scan.tif")
    assert BOB.do(Path.read_bytes, original) == scan.read_bytes()
    with tifffile.TiffFile(folder / "scan.tif") as tiff:
        assert tiff.asarray().shape == (3, 32, 40)
    assert fact(folder / "scan.tif", "images")
    origin = json.loads(os.getxattr(folder / "scan.tif", "user.repofs.origin"))
    assert (origin["source"], origin["path"], origin["transfer"]) == ("scope1", "scan.tif", "ln_s")
    for change in (lambda: os.truncate(folder / "scan.tif", 0), lambda: os.open(original, os.O_WRONLY)):
        with pytest.raises(PermissionError) as error:
            ALICE.do(change)
        assert error.value.errno == errno.EPERM
    assert scan.stat() == source or scan.stat().st_mtime_ns == source.st_mtime_ns


@pytest.mark.parametrize("tool", ["ln", "cp"])
def test_the_tools_that_make_links(drive: Drive, folder: Path, outside: Path, tool: str) -> None:
    source = outside / f"by-{tool}.tif"
    source.write_bytes(CONTENT)
    if tool == "ln":
        ALICE.run("ln", "-s", source, folder)
    else:
        ALICE.run("ln", "-s", source, outside / "link-to-copy.tif")
        ALICE.run("cp", "-a", outside / "link-to-copy.tif", folder / source.name)
    drive.wait_imported(folder / source.name)
    assert (folder / source.name).read_bytes() == CONTENT


@pytest.mark.parametrize("transfer", ["upload", "upload_rm", "ln", "ln_rm", "ln_s", "cp", "cp_rm"])
def test_every_transfer_by_attribute(drive: Drive, folder: Path, outside: Path, transfer: str) -> None:
    source = outside / f"{transfer}.dat"
    ALICE.do(Path.write_bytes, source, CONTENT)
    inode = source.stat().st_ino
    command(folder, source=str(source), transfer=transfer)
    path = folder / source.name
    drive.wait_imported(path)
    assert fact(path, "transfer") == transfer
    assert ALICE.do(Path.read_bytes, path) == CONTENT
    until(lambda: source.exists() is not transfer.endswith("_rm"), f"what {transfer} does with its source")
    if transfer in ("ln", "ln_rm"):
        linked = drive.layout.linked / str(drive.backing(path).stat().st_ino)
        assert linked.stat().st_ino == inode


def test_a_linked_tree_shows_as_a_tree(drive: Drive, folder: Path, outside: Path) -> None:
    run = outside / "run7"
    for place in ("a.tif", "deep/er/b.tif", "x.zarr/0/0.0", "x.zarr/.zgroup"):
        (run / place).parent.mkdir(parents=True, exist_ok=True)
        (run / place).write_bytes(CONTENT + place.encode())
    (run / "loop").symlink_to(run)
    os.mkfifo(run / "fifo")
    link(run, folder / "run7")
    files = [folder / "run7" / place for place in ("a.tif", "deep/er/b.tif", "x.zarr/0/0.0", "x.zarr/.zgroup")]
    until(lambda: all(path.exists() for path in files), "the whole tree")
    drive.wait_imported(*files)
    for path in files:
        assert path.read_bytes() == CONTENT + str(path.relative_to(folder / "run7")).encode()
    assert sorted(os.listdir(folder / "run7")) == ["a.tif", "deep", "x.zarr"]
    assert fact(files[2], "fileset") == fact(files[3], "fileset") != fact(files[0], "fileset")
    until(lambda: not _is_filling(drive.backing(folder / "run7")), "the end of the filling")


def _is_filling(directory: Path) -> bool:
    return "user.repofs.from" in os.listxattr(directory)


def test_what_cannot_be_read_in_a_tree_fails_and_the_others_go_on(drive: Drive, folder: Path, outside: Path) -> None:
    run = outside / "half"
    for place in ("open.tif", "closed.tif", "locked/in.tif", "x.zarr/a", "x.zarr/b"):
        (run / place).parent.mkdir(parents=True, exist_ok=True)
        (run / place).write_bytes(CONTENT)
    for closed in ("closed.tif", "locked", "x.zarr/b"):
        (run / closed).chmod(0)
    link(run, folder / "half")
    drive.wait_imported(folder / "half/open.tif")
    drive.wait_state(folder / "half/closed.tif", "failed")
    drive.wait_state(folder / "half/locked", "failed")
    assert "may not read it" in str(fact(folder / "half/closed.tif", "error"))
    drive.wait_state(folder / "half/x.zarr/a", "failed")
    assert "b is incomplete" in str(fact(folder / "half/x.zarr/a", "error"))
    drive.wait_state(folder / "half/x.zarr/b", "incomplete")


def test_everything_refused_is_refused_by_the_system_call(drive: Drive, folder: Path, outside: Path) -> None:
    secret = outside / "secret"
    secret.write_bytes(b"s")
    secret.chmod(0o600)
    (outside / "link").symlink_to(secret)
    os.mkfifo(outside / "pipe")
    cases = {
        secret: errno.EACCES,
        outside / "nothing": errno.ENOENT,
        outside / "link": errno.EINVAL,
        outside / "pipe": errno.EPERM,
        Path("/etc/passwd"): errno.EPERM,
        drive.layout.root / "key": errno.EINVAL,
        drive.home(BOB) / "x": errno.EINVAL,
        outside / ".." / "repository" / "key": errno.EINVAL,
    }
    for number, (path, code) in enumerate(cases.items()):
        with pytest.raises(OSError) as error:
            link(path, folder / f"l{number}")
        assert (path, error.value.errno) == (path, code)
        assert refused(folder)
        assert not os.path.lexists(folder / f"l{number}")
    with pytest.raises(OSError) as error:
        CAROL.do(os.symlink, secret, folder / "hers")
    assert error.value.errno == errno.EACCES
    assert os.listdir(drive.layout.staging) == []


def test_transfers_that_cannot_work_are_refused_when_they_are_set(drive: Drive, folder: Path, outside: Path) -> None:
    mine = outside / "roots.dat"
    mine.write_bytes(CONTENT)
    closed = outside / "closed"
    closed.mkdir(mode=0o755)
    (closed / "a.dat").write_bytes(CONTENT)
    for value, code in (
        ({"source": str(closed / "a.dat"), "transfer": "cp_rm"}, errno.EACCES),
        ({"source": str(mine), "transfer": "magic"}, errno.EINVAL),
        ({"source": str(mine), "transfer": "ln"}, errno.EACCES),  # it would keep root's bytes for ever
        ({"source": "relative", "transfer": "ln"}, errno.EINVAL),
        ({"source": str(mine), "transfers": "ln"}, errno.EINVAL),
        ({"transfer": "ln"}, errno.EINVAL),
    ):
        with pytest.raises(OSError) as error:
            command(folder, **value)
        assert (value, error.value.errno) == (value, code)
        assert refused(folder)
    assert os.listdir(folder) == []
    command(folder, source=str(closed), transfer="ln")
    drive.wait_state(folder / "closed/a.dat", "failed")
    assert "to link" in str(fact(folder / "closed/a.dat", "error"))
    mine.chmod(0o666)
    command(folder, source=str(mine), transfer="ln")
    drive.wait_imported(folder / "roots.dat")


def test_reflink_works_or_is_refused_when_it_is_set(drive: Drive, folder: Path, scan: Path) -> None:
    try:
        command(folder, source=str(scan), transfer="reflink")
    except OSError as error:  # on ext4
        assert error.errno == errno.EOPNOTSUPP and "use cp" in refused(folder)
        assert os.listdir(folder) == []
    else:  # on XFS, Btrfs
        drive.wait_imported(folder / scan.name)
        assert (folder / scan.name).read_bytes() == scan.read_bytes()


@pytest.mark.parametrize("transfer", ["ln", "ln_rm", "reflink"])
def test_another_file_system_is_refused_when_it_is_set(drive: Drive, folder: Path, transfer: str) -> None:
    if os.stat("/dev/shm").st_dev == drive.repository.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="repofs-tests-") as source:
        os.fchown(source.fileno(), ALICE.uid, ALICE.gid)
        with pytest.raises(OSError) as error:
            command(folder, source=source.name, transfer=transfer)
        assert error.value.errno == errno.EXDEV
        assert "file system" in refused(folder)
        assert os.listdir(folder) == []


def test_a_directory_that_is_one_drop_goes_whole(drive: Drive, folder: Path, outside: Path) -> None:
    top = outside / "moved.zarr"
    ALICE.do(os.makedirs, top / "0/1")
    for place in (".zgroup", "0/1/0.0"):
        ALICE.do(Path.write_bytes, top / place, CONTENT)
    command(folder, source=str(top), transfer="cp_rm")
    until(lambda: (folder / "moved.zarr/0/1/0.0").exists(), "the tree")
    drive.wait_imported(folder / "moved.zarr/0/1/0.0")
    until(lambda: not top.exists(), "the end of the source, with its directories")
    assert (folder / "moved.zarr/.zgroup").read_bytes() == CONTENT


def test_an_original_whose_source_changes_goes_or_comes_back(drive: Drive, folder: Path, outside: Path) -> None:
    drive.allowed = ["an original in place"]
    source = outside / "moving.dat"
    source.write_bytes(CONTENT)
    path = folder / "moving.dat"
    link(source, path)
    drive.wait_imported(path)
    moved = source.rename(outside / "moved.dat")
    for there, state in ((None, "missing"), (b"other bytes", "altered")):
        if there is not None:
            source.write_bytes(there)
        with pytest.raises(OSError) as error:
            ALICE.do(Path.read_bytes, path)
        assert error.value.errno == errno.EIO
        assert fact(path, "state") == state and fact(path, "error")
        assert path.stat().st_size == len(CONTENT)
        until(lambda state=state: _states(drive, path) == {state}, f"{state} in the catalogue")
    source.unlink()
    moved.rename(source)
    assert ALICE.do(Path.read_bytes, path) == CONTENT
    assert fact(path, "state") == "imported"
    until(lambda: _states(drive, path) == {"imported"}, "imported again in the catalogue")


def _states(drive: Drive, path: Path) -> set[object]:
    return {one["state"] for one in drive.originals_at(path)}


def test_a_source_that_is_written_again_by_its_hard_link_is_altered(drive: Drive, folder: Path, outside: Path) -> None:
    drive.allowed = ["an original in place"]
    source = outside / "linked.dat"
    ALICE.do(Path.write_bytes, source, CONTENT)
    command(folder, source=str(source), transfer="ln")
    path = folder / "linked.dat"
    drive.wait_imported(path)
    ALICE.do(os.chmod, source, 0o640)  # changes no bytes
    assert ALICE.do(Path.read_bytes, path) == CONTENT
    with source.open("ab") as file:
        file.write(b"more")
    with pytest.raises(OSError) as error:
        ALICE.do(Path.read_bytes, path)
    assert error.value.errno == errno.EIO and fact(path, "state") == "altered"


def test_a_file_that_grows_is_imported_when_it_is_quiet(drive: Drive, folder: Path, outside: Path) -> None:
    source = outside / "growing.dat"
    with source.open("wb") as file:
        file.write(CONTENT)
        file.flush()
        link(source, folder / "growing.dat")
        with pytest.raises(AssertionError):
            drive.wait_imported(folder / "growing.dat", seconds=2.0)
        file.write(CONTENT)
    drive.wait_imported(folder / "growing.dat")
    assert (folder / "growing.dat").read_bytes() == 2 * CONTENT


def test_a_relative_link_stays_a_link(drive: Drive, folder: Path) -> None:
    ALICE.do(Path.write_bytes, folder / "there.dat", CONTENT)
    ALICE.do(os.symlink, "there.dat", folder / "here.dat")
    assert os.readlink(folder / "here.dat") == "there.dat"


def test_removing_the_name_leaves_the_original_and_the_source(drive: Drive, folder: Path, outside: Path) -> None:
    source = outside / "kept.dat"
    source.write_bytes(CONTENT)
    link(source, folder / "kept.dat")
    drive.wait_imported(folder / "kept.dat")
    original = drive.original_of(folder / "kept.dat")
    ALICE.do(os.unlink, folder / "kept.dat")
    assert original.read_bytes() == source.read_bytes() == CONTENT
    ALICE.do(shutil.copy, original, folder / "copy.dat")
    assert (folder / "copy.dat").read_bytes() == CONTENT
