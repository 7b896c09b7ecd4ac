"""Watched folders beside a mount: OMERO's scenarios, and nothing missed or doubled whatever happens to the daemon."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import mounting
from tests.helpers.mounting import QUICK, REPOFS, Drive, fact
from tests.helpers.people import ALICE, BOB, ROOT, Person
from tests.helpers.waiting import until

INTERRUPTED = "imports were interrupted and will be tried again"
MANY = 10_000
SECONDS = 300  # that a step of many files may take on a busy machine
ATTRIBUTES = 8  # blocks of 512 bytes that a file without bytes of its own may have


@contextmanager
def watching(transfer: str) -> Iterator[tuple[Drive, Path]]:
    """Mount a repository with a watched folder; yield with it Alice's directory in the folder."""
    with mounting.scratch() as place:
        folder = place / "outside"  # that of the Drive
        with mounting.mounted(f"{QUICK}\n{dropbox(folder, transfer)}", place=place) as drive:
            for person in (ALICE, BOB):
                (folder / person.name).mkdir()
                os.chown(folder / person.name, person.uid, person.gid)
            yield drive, folder / ALICE.name


def dropbox(folder: Path, transfer: str) -> str:
    """Return the settings of a watched folder."""
    return f'''
[[dropbox]]
name = "scopes"
path = "{folder}"
transfer = "{transfer}"
settle_seconds = 0.3
scan_seconds = 2
'''


def drop(directory: Path, name: str, content: bytes = b"pixels") -> Path:
    """Have Alice put a file into her directory."""
    path = directory / name
    ALICE.do(os.makedirs, path.parent, 0o755, True)
    ALICE.do(path.write_bytes, content)
    return path


def originals(drive: Drive, count: int, seconds: float = 60.0) -> list[Path]:
    """Wait for *count* originals, and return their paths in the mount, in the order of the names in them."""
    until(lambda: len(drive.originals()) >= count, lambda: f"{count} originals: {drive.originals()}", seconds)
    found = [drive.mountpoint / str(one["import_path"]) for one in drive.originals()]
    assert len(found) == count
    return sorted(found, key=lambda path: path.name)


def count(drive: Drive) -> int:
    """Return how many originals there are."""
    with closing(sqlite3.connect(drive.layout.catalogue)) as catalogue:
        return int(catalogue.execute("SELECT count(*) FROM original_files").fetchone()[0])


# --- OMERO's scenarios ----------------------------------------------------------------------------


def test_dropbox_manual_delete() -> None:
    with watching("upload") as (drive, home):
        source = drop(home, "ProjectX/DatasetY/scan.bin")
        [original] = originals(drive, 1)
        assert original.stat().st_uid == ALICE.uid and original.read_bytes() == b"pixels"
        assert fact(original, "transfer") == "upload"
        drive.stop()
        drive.start()
        drop(home, "later.bin")
        originals(drive, 2)
        assert ALICE.do(source.read_bytes) == b"pixels"
        ALICE.do(source.unlink)
        assert original.read_bytes() == b"pixels" and fact(original, "state") == "imported"


@pytest.mark.parametrize("transfer", ["upload_rm", "cp_rm"])
def test_dropbox_automatic_delete(transfer: str) -> None:
    with watching(transfer) as (drive, home):
        source, other = drop(home, "scan.bin"), drop(home, "secret.bin")
        os.chown(other, 0, 0)
        other.chmod(0o600)
        [original] = originals(drive, 1)
        until(lambda: not source.exists(), "the source is removed")
        assert original.read_bytes() == b"pixels" and fact(original, "transfer") == transfer
        assert other.read_bytes() == b"pixels"  # she may not read it: it was not imported, so it is not removed


@pytest.mark.parametrize("transfer", ["ln", "ln_s"])
def test_inplace_dropbox_manual_delete(transfer: str) -> None:
    with watching(transfer) as (drive, home):
        drive.allowed = ["an original in place"]
        source = drop(home, "scan.bin", b"p" * 100_000)
        [original] = originals(drive, 1)
        assert original.read_bytes() == b"p" * 100_000 and fact(original, "transfer") == transfer
        assert drive.backing(original).stat().st_blocks <= ATTRIBUTES  # nothing was copied
        assert source.stat().st_nlink == (2 if transfer == "ln" else 1)
        drive.stop()
        drive.start()
        drop(home, "later.bin")
        originals(drive, 2)
        ALICE.do(source.unlink)
        if transfer == "ln":
            assert original.read_bytes() == b"p" * 100_000
        else:
            with pytest.raises(OSError):
                original.open("rb")


def test_inplace_dropbox_automatic_delete() -> None:
    with watching("ln_rm") as (drive, home):
        source = drop(home, "scan.bin", b"p" * 100_000)
        inode = source.stat().st_ino
        [original] = originals(drive, 1)
        until(lambda: not source.exists(), "the source is removed")
        assert original.read_bytes() == b"p" * 100_000
        assert drive.backing(original).stat().st_blocks <= ATTRIBUTES
        assert inode in {path.stat().st_ino for path in (drive.layout.managed / ".linked").iterdir()}


def test_a_link_to_another_file_system_is_refused_when_the_repository_is_mounted() -> None:
    with mounting.scratch() as there:
        drive = Drive(there, f"{QUICK}\n{dropbox(Path('/dev/shm'), 'ln')}")
        with pytest.raises(AssertionError, match="scopes = /dev/shm: ln needs the source on the repository"):
            drive.start()


def test_who_asks_is_told_what_became_of_her_files() -> None:
    with watching("upload") as (drive, home):
        (home / "link\n.tif").symlink_to("/etc/passwd")
        drop(home, "good.bin")
        originals(drive, 1)
        until(lambda: told(drive, ALICE)["files"], "the failure is known")
        until(lambda: told(drive, ALICE)["folders"][0]["imported"] == 1, "the import is known")
        [folder], [file] = told(drive, ALICE)["folders"], told(drive, ALICE)["files"]
        assert folder == {
            "dropbox": "scopes", "user": "alice", "queued": 0, "imported": 1, "failed": 1, "duplicate": 0
        }  # fmt: skip
        assert file["path"] == str(home / "link\n.tif") and "symbolic link" in file["error"]
        assert told(drive, BOB) == {"folders": [], "files": []}
        assert told(drive, ROOT) == told(drive, ALICE)
        shown = ALICE.run(*REPOFS, "-C", drive.repository, "dropbox").stdout
        assert "link\\n.tif" in shown and "scopes" in shown


def told(drive: Drive, person: Person) -> Any:
    return json.loads(person.run(*REPOFS, "-C", drive.repository, "dropbox", "--json").stdout)


# --- many -----------------------------------------------------------------------------------------


@pytest.mark.timeout(4 * SECONDS)
def test_ten_thousand_files_dropped_at_once_are_imported_once_each_over_two_restarts(
    report: Callable[[str], None],
) -> None:
    with watching("upload") as (drive, home):
        drive.allowed = [INTERRUPTED]
        began = time.monotonic()

        def write() -> None:
            for number in range(MANY):
                (home / f"{number:05d}.bin").write_bytes(b"%d" % number)

        ALICE.do(write)
        until(lambda: count(drive) > 200, "the first imports", SECONDS)
        drive.stop()
        drive.start()
        until(lambda: count(drive) > 4_000, "many imports", SECONDS)
        drive.kill()
        drive.start()
        until(lambda: count(drive) >= MANY, lambda: f"all imports: {count(drive)}", SECONDS)
        drop(home, "last.bin")
        until(lambda: count(drive) > MANY, "the import of a later one", SECONDS)
        names = Counter(Path(str(one["import_path"])).name for one in drive.originals())
        assert names == Counter([*(f"{number:05d}.bin" for number in range(MANY)), "last.bin"])
        report(f"{MANY} files dropped into a watched folder: {time.monotonic() - began:.0f} s, with two restarts")
