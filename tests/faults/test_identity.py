"""Another file in the place of a source, and marks that were not made for the file that bears them."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from repofs.catalog.origins import DONE, Due
from repofs.config import Source
from repofs.importer import removal
from repofs.model import Identity, Origin, OriginalFileId
from repofs.repository.outside import identity_of
from repofs.repository.sources import Sources
from repofs.xattrs import MARK, ORIGIN
from tests.helpers.disks import disk
from tests.helpers.mounting import QUICK, Drive, fact, facts, running, scratch
from tests.helpers.people import ALICE

pytestmark = pytest.mark.usefixtures("disks_are_possible")

SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n'
PIXELS, OTHERS = b"pixels" * 100, b"others" * 100

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def drive() -> Iterator[Drive]:
    """Repository and source on one ext4."""
    with scratch() as place, disk(place / "image", place / "disk") as one:
        one.mountpoint.chmod(0o755)
        made = Drive(one.mountpoint, SETTINGS)
        made.allowed = ["an original in place"]
        with running(made, made.start):
            yield made


@pytest.fixture
def source(drive: Drive) -> Path:
    """A file of Alice's in the source."""
    path = drive.outside / f"{next(_numbers)}.bin"
    ALICE.do(Path.write_bytes, path, PIXELS)
    return path


@pytest.fixture
def victim(drive: Drive, source: Path) -> Path:
    """An original of Alice's, in the mount."""
    path = drive.home(ALICE) / f"victim-{source.name}"
    ALICE.run("cp", source, path)
    drive.wait_imported(path)
    return path


def replaced(path: Path) -> None:
    """Put another file in the place of *path*: of its inode number, size and mtime, with other bytes."""
    before = path.stat()
    path.unlink()
    for _ in range(1000):  # ext4 gives the number of an inode that has gone to the next new one
        path.write_bytes(OTHERS)
        if path.stat().st_ino == before.st_ino:
            break
        path.rename(path.with_name(f"not-{path.stat().st_ino}"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.chown(path, before.st_uid, before.st_gid)
    now = path.stat()
    assert (now.st_ino, now.st_size, now.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def test_a_file_with_the_inode_number_of_a_source_is_not_served(drive: Drive, source: Path) -> None:
    path = drive.home(ALICE) / source.name
    ALICE.do(os.symlink, source, path)
    drive.wait_imported(path)
    assert ALICE.do(Path.read_bytes, path) == PIXELS
    replaced(source)
    with pytest.raises(OSError) as refused:
        ALICE.do(Path.read_bytes, path)
    assert refused.value.errno == errno.EIO
    assert fact(path, "state") == "altered"


def test_a_file_with_the_inode_number_of_a_source_is_not_removed(drive: Drive, source: Path) -> None:
    before = identity(source)
    replaced(source)
    assert identity(source).inode == before.inode and identity(source).handle != before.handle
    sources = Sources((Source(name="scope1", path=drive.outside),), drive.layout.root)
    due = Due(OriginalFileId(1), Origin("scope1", source.name, before, "ln_rm"), ALICE.uid)
    with ThreadPoolExecutor() as threads:  # the main thread never becomes somebody else
        [(_, how)] = threads.submit(removal.remove, sources, [due]).result()
    assert how != DONE
    assert source.read_bytes() == OTHERS


# --- marks ---------------------------------------------------------------------------------------


def stolen(drive: Drive, victim: Path) -> bytes:
    """Return the mark of *victim*, signed by the daemon, as only one who reads the backing tree can have it."""
    return os.getxattr(drive.backing(victim), MARK)


def by_copying(drive: Drive, source: Path, path: Path) -> None:
    ALICE.run("cp", "-a", source, path)


def by_rsync(drive: Drive, source: Path, path: Path) -> None:
    ALICE.run("rsync", "-aX", source, path, check=False)  # it tells that the attribute was refused


def by_hand(drive: Drive, source: Path, path: Path) -> None:
    ALICE.run("cp", source, path)
    with contextlib.suppress(OSError):  # refused or not: it must not count
        ALICE.do(os.setxattr, path, MARK, os.getxattr(source, MARK))


def by_link(transfer: str) -> Callable[[Drive, Path, Path], None]:
    def link(drive: Drive, source: Path, path: Path) -> None:
        value = json.dumps({"source": str(source), "transfer": transfer})
        ALICE.do(os.setxattr, path.parent, b"user.repofs.import.link", value.encode())

    return link


WAYS: dict[str, Callable[[Drive, Path, Path], None]] = {
    "cp -a": by_copying,
    "rsync -X": by_rsync,
    "setxattr": by_hand,
    **{transfer: by_link(transfer) for transfer in ("ln_s", "ln", "ln_rm", "cp_rm")},
}


@pytest.mark.parametrize("mark", ["stolen", "forged"])
@pytest.mark.parametrize("way", WAYS)
def test_a_mark_that_a_file_brings_along_is_not_believed(
    drive: Drive, source: Path, victim: Path, way: str, mark: str
) -> None:
    ALICE.do(Path.write_bytes, source, OTHERS + source.name.encode())
    value = stolen(drive, victim) if mark == "stolen" else b"AAAAAAAAAAAAAAAAAAAAAA" + stolen(drive, victim)[22:]
    ALICE.do(os.setxattr, source, MARK, value)
    ALICE.do(os.setxattr, source, ORIGIN, value)
    before, path = facts(victim), drive.home(ALICE) / source.name
    WAYS[way](drive, source, path)
    drive.wait_imported(path)
    assert ALICE.do(Path.read_bytes, path) == OTHERS + source.name.encode()
    assert fact(path, "original") != before["original"] and fact(path, "fileset") != before["fileset"]
    assert facts(victim) == before
    assert ALICE.do(Path.read_bytes, victim) == PIXELS
    [row] = drive.originals_at(path)
    assert row["original"] == fact(path, "original")


@pytest.mark.parametrize("name", [MARK, ORIGIN])
def test_a_mark_put_on_a_linked_source_later_changes_nothing(
    drive: Drive, source: Path, victim: Path, name: bytes
) -> None:
    path = drive.home(ALICE) / source.name
    by_link("ln")(drive, source, path)
    drive.wait_imported(path)
    before = facts(path)
    ALICE.do(os.setxattr, source, name, stolen(drive, victim))
    drive.stop()
    drive.start()
    assert facts(path) == before
    assert ALICE.do(Path.read_bytes, path) == PIXELS
    ALICE.do(os.unlink, path)
    assert fact(victim, "state") == "imported"
    assert ALICE.do(Path.read_bytes, drive.original_of(victim)) == PIXELS
