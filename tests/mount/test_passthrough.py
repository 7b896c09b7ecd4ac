"""Originals that the kernel reads by itself, in real mounts: every way to read, and whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers import mounting
from tests.helpers.drops import drop, status
from tests.helpers.mounting import QUICK, REPOFS, Drive, mounted, scratch
from tests.helpers.people import ALICE, ROOT

SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n'
CONTENT = os.urandom(1 << 20) * 2
WITHOUT_MODULE = "import repofs.fuse; repofs.fuse.native = None; from repofs.cli import main; main()"


def used(drive: Drive) -> bool:
    return bool(status(drive.mountpoint)["passthrough"]["used"])


@pytest.fixture
def through(drive: Drive) -> Drive:
    """The mount of the module, where the kernel reads by itself."""
    if not used(drive):
        pytest.skip(f"no passthrough here: {status(drive.mountpoint)['passthrough']['why_not']}")
    drive.allowed = ["an original in place"]
    return drive


@pytest.fixture
def original(drive: Drive, folder: Path) -> Path:
    return imported(drive, folder / "scan.bin")


def imported(drive: Drive, path: Path) -> Path:
    drop(ALICE, path, CONTENT + os.fsencode(path))
    drive.wait_imported(path)
    return path


def content(path: Path) -> bytes:
    return CONTENT + os.fsencode(path)


@contextlib.contextmanager
def opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def read_by_daemon(drive: Drive) -> int:
    """Return how many bytes the daemon has read since its start, from whatever."""
    words = Path(f"/proc/{drive.pid}/io").read_text().split()
    return int(words[words.index("rchar:") + 1])


def test_the_kernel_reads_originals_by_itself(through: Drive, original: Path) -> None:
    before = read_by_daemon(through)
    assert original.read_bytes() == content(original)
    assert read_by_daemon(through) - before < len(CONTENT) // 2


@pytest.mark.parametrize("how", ["off", "no module"])
def test_without_it_the_daemon_reads(how: str) -> None:
    settings = QUICK + ('\n[mount]\npassthrough = "off"\n' if how == "off" else "")
    command = REPOFS if how == "off" else (sys.executable, "-c", WITHOUT_MODULE)
    with mounted(settings, command) as drive:
        path = imported(drive, drive.home(ALICE) / "scan.bin")
        before = read_by_daemon(drive)
        assert path.read_bytes() == content(path)
        assert read_by_daemon(drive) - before >= len(CONTENT)
        told = status(drive.mountpoint)["passthrough"]
        if how == "off" or mounting.PASSTHROUGH != "off":
            expected = "mount.passthrough" if how == "off" else "native module"
            assert not told["used"] and expected in told["why_not"]
        shown = ROOT.run(*REPOFS, "status", drive.mountpoint).stdout
        assert f"kernel passthrough: not used: {told['why_not']}" in shown


def test_status_says_that_it_is_used(through: Drive) -> None:
    assert "kernel passthrough: used\n" in ROOT.run(*REPOFS, "status", through.mountpoint).stdout


def by_pread(fd: int, size: int) -> bytes:
    return b"".join(os.pread(fd, 4096, offset) for offset in range(0, size, 4096))


def by_mmap(fd: int, size: int) -> bytes:
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        return mapped[:]


def by_private_mmap(fd: int, size: int) -> bytes:
    with mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as mapped:
        mapped[:1] = bytes([mapped[0] ^ 1])  # a copy of the reader's own
        mapped[:1] = bytes([mapped[0] ^ 1])
        return mapped[:]


def by_sendfile(fd: int, size: int) -> bytes:
    with open(os.memfd_create("copy"), "w+b") as copy:
        while os.sendfile(copy.fileno(), fd, None, 1 << 20):
            pass
        copy.seek(0)
        return copy.read()


def by_splice(fd: int, size: int) -> bytes:
    reader, writer = os.pipe()
    found = b""
    with open(reader, "rb", buffering=0) as out, open(writer, "wb", buffering=0):
        while count := os.splice(fd, writer, 65536):
            found += out.read(count)
    return found


def by_seeking_the_end(fd: int, size: int) -> bytes:
    assert os.lseek(fd, 0, os.SEEK_END) == size
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, size)


WAYS = (by_pread, by_mmap, by_private_mmap, by_sendfile, by_splice, by_seeking_the_end)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_of_reading(original: Path, way: Callable[[int, int], bytes]) -> None:
    expected = content(original)
    with opened(original) as fd:
        assert way(fd, len(expected)) == expected


def test_without_the_page_cache(original: Path) -> None:
    with opened(original, os.O_DIRECT) as direct, opened(original) as fd:
        with mmap.mmap(-1, 1 << 20) as aligned:
            assert os.preadv(direct, [aligned], 1 << 20) == 1 << 20
            assert aligned[:] == os.pread(fd, 1 << 20, 1 << 20) == CONTENT[1 << 20 :]


def test_a_mapping_outlives_its_descriptor_and_its_names(original: Path) -> None:
    with opened(original) as fd:
        mapped = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
    with mapped:
        ALICE.do(os.unlink, original)
        assert mapped[:] == content(original)


def test_many_opens(drive: Drive, folder: Path) -> None:
    paths = [imported(drive, folder / f"{n}.bin") for n in range(3)]
    with contextlib.ExitStack() as stack:
        fds = [(stack.enter_context(opened(path)), path) for path in paths * 100]
        for fd, path in fds:
            assert os.pread(fd, 9, len(CONTENT)) == os.fsencode(path)[:9]
    for path in paths:
        assert path.read_bytes() == content(path)


OPENING = """
import os, sys
for n in range(300):
    fd = os.open(sys.argv[1], os.O_RDONLY)
    assert len(os.pread(fd, 5000, n)) == 5000
    os.close(fd)
"""


def test_opens_and_closes_at_the_same_time(original: Path) -> None:
    command = (sys.executable, "-c", OPENING, original)
    readers = [ALICE.start(*command, stderr=subprocess.PIPE) for _ in range(4)]
    for reader in readers:
        _, errors = reader.communicate()
        assert reader.returncode == 0, errors.decode()


def test_a_drop_that_becomes_an_original_while_it_is_open(through: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin", content(folder / "scan.bin"))
    with opened(path) as early:
        with mmap.mmap(early, 0, prot=mmap.PROT_READ) as mapped:
            through.wait_imported(path)
            with opened(path) as late, opened(through.original_of(path)) as other:
                for fd in (early, late, other):
                    assert by_pread(fd, len(content(path))) == content(path)
                assert mapped[:] == content(path)
    before = read_by_daemon(through)
    assert path.read_bytes() == content(path)
    assert read_by_daemon(through) - before < len(CONTENT) // 2  # all had closed it


def test_deleted_while_it_is_open(drive: Drive, original: Path) -> None:
    place = drive.original_of(original)
    with opened(original) as fd, opened(place) as other:
        ALICE.do(os.unlink, original)
        ALICE.do(shutil.rmtree, place.parent)
        assert not place.exists()
        for one in (fd, other):
            assert by_pread(one, len(content(original))) == content(original)


def test_nobody_writes_what_is_read_so(original: Path) -> None:
    with opened(original):
        for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_TRUNC):
            with pytest.raises(PermissionError):
                os.open(original, flags)
    assert original.read_bytes() == content(original)


def verify(drive: Drive, path: Path) -> str:
    done = ROOT.run(
        *REPOFS, "-C", drive.repository, "verify", path.relative_to(drive.mountpoint), "--json", check=False
    )
    return str(json.loads(done.stdout.splitlines()[0])["state"])


def test_an_altered_original_is_not_opened_any_more(drive: Drive, original: Path) -> None:
    backing = drive.backing(original)
    with opened(original) as fd:
        with backing.open("r+b") as file:
            file.write(bytes([CONTENT[0] ^ 1]))
        assert verify(drive, original) == "altered"
        with pytest.raises(OSError, match="Input/output error"):
            os.open(original, os.O_RDONLY)
        with backing.open("r+b") as file:
            file.write(CONTENT[:1])
        assert verify(drive, original) == "imported"
        with opened(original) as again:
            for one in (fd, again):
                assert by_pread(one, len(content(original))) == content(original)


def test_an_original_in_place(through: Drive, folder: Path, outside: Path) -> None:
    source, path = outside / f"{folder.name}.bin", folder / "linked.bin"
    source.write_bytes(content(path))
    ALICE.do(os.symlink, source, path)
    with opened(path) as early:  # a drop yet: its source may still be written
        through.wait_imported(path)
        with opened(path) as late:
            assert by_pread(early, len(content(path))) == by_pread(late, len(content(path))) == content(path)
    before = read_by_daemon(through)
    with opened(path) as fd:
        assert by_pread(fd, len(content(path))) == content(path)
        assert read_by_daemon(through) - before < len(CONTENT) // 2
        source.unlink()
        with pytest.raises(OSError, match="Input/output error"):
            os.open(path, os.O_RDONLY)
        assert by_mmap(fd, len(content(path))) == content(path)


def test_a_source_that_is_on_no_disk_is_read_by_the_daemon() -> None:
    with scratch() as place:
        drive = Drive(place, SETTINGS)
        with mounted_at(drive.outside, "-t", "tmpfs", "tmpfs"), mounting.running(drive, drive.start):
            path, source = drive.home(ALICE) / "scan.bin", drive.outside / "scan.bin"
            source.write_bytes(content(path))
            ALICE.do(os.symlink, source, path)
            drive.wait_imported(path)
            before = read_by_daemon(drive)
            assert path.read_bytes() == content(path)
            assert read_by_daemon(drive) - before >= len(CONTENT)


def test_readers_outlive_the_daemon(own_drive: Drive) -> None:
    if not used(own_drive):
        pytest.skip("no passthrough here")
    path = imported(own_drive, own_drive.home(ALICE) / "scan.bin")
    reader = ALICE.start("dd", f"if={path}", "bs=4k", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert reader.stdout is not None
    with opened(path) as fd, mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
        first = reader.stdout.read(5)  # in the middle of it: the pipe is full
        own_drive.kill()
        assert first + reader.stdout.read() == content(path) and reader.wait() == 0
        assert by_pread(fd, len(content(path))) == mapped[:] == content(path)
        with pytest.raises(OSError, match="not connected"):
            os.open(path, os.O_RDONLY)
    own_drive.start()
    assert path.read_bytes() == content(path)


def test_a_stacked_file_system_is_read_by_the_daemon() -> None:
    with scratch() as place, overlay(place) as there:
        with mounted(place=there) as drive:
            paths = [imported(drive, drive.home(ALICE) / name) for name in ("one.bin", "two.bin")]
            assert [path.read_bytes() for path in paths * 2] == [content(path) for path in paths * 2]
            told = status(drive.mountpoint)["passthrough"]
            assert not told["used"] and told["why_not"]
            if mounting.PASSTHROUGH != "off" and "file system" in told["why_not"]:
                lines = [line for line in drive.new_log_lines() if "without kernel passthrough" in line]
                assert len(lines) == 1 and "stacked" in lines[0]


@contextlib.contextmanager
def overlay(place: Path) -> Iterator[Path]:
    lower, upper, work, there = (place / name for name in ("lower", "upper", "work", "there"))
    for directory in (lower, upper, work, there):
        directory.mkdir()
    with mounted_at(there, "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay"):
        yield there


@contextlib.contextmanager
def mounted_at(place: Path, *arguments: str) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments, place], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"{arguments[1]} cannot be mounted here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)
