"""A mounted repository loses its catalogue: a copy was made while it worked, and what is rebuilt goes on working."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.command_line import Answer, repofs
from tests.helpers.mounting import Drive, fact, mounted, running
from tests.helpers.people import ALICE, BOB


@pytest.fixture
def drive() -> Iterator[Drive]:
    with mounted() as drive:
        yield drive


def run(drive: Drive, *words: str | Path) -> Answer:
    return repofs("-C", drive.repository, *words)


def originals(drive: Drive) -> list[str]:
    answer = run(drive, "originals", "--json")
    assert answer.code == 0, answer.err
    return sorted(answer.out.splitlines())


def destroy(drive: Drive) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{drive.layout.catalogue}{end}").unlink(missing_ok=True)


def put(drive: Drive, name: str) -> Path:
    path = drive.home(ALICE) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(100))
    return path


def test_a_destroyed_catalogue_is_rebuilt_and_the_mount_goes_on(drive: Drive) -> None:
    paths = [put(drive, f"P/D/{number}.bin") for number in range(5)]
    drive.wait_imported(*paths)
    assert run(drive, "fsck", "--rebuild-catalogue").code == 8  # while it is mounted
    known, numbers = originals(drive), {fact(path, "fileset") for path in paths}
    drive.stop()
    destroy(drive)
    answer = run(drive, "fsck", "--rebuild-catalogue", "--json")
    assert answer.code == 5, answer.err  # rebuilt, and the audit trail is lost
    *lacks, summary = [json.loads(line) for line in answer.out.splitlines()]
    assert (summary["filesets"], summary["files"], summary["lacking"], summary["kept"]) == (5, 5, 1, None)
    assert "audit trail" in lacks[0]["reason"]
    assert originals(drive) == known
    assert run(drive, "fsck").code == 0, run(drive, "fsck").out
    with running(drive, drive.start):
        assert {fact(path, "fileset") for path in paths} == numbers
        new = put(drive, "P/D/new.bin")
        drive.wait_imported(new)
        assert fact(new, "fileset") == "Fileset:6"
        drive.check()


def test_a_copy_is_made_while_it_works_and_is_brought_up_to_today(drive: Drive, tmp_path: Path) -> None:
    early = [put(drive, f"P/D/{number}.bin") for number in range(3)]
    drive.wait_imported(*early)
    copy = tmp_path / "copy.sqlite"
    answer = run(drive, "backup", copy, "--json")
    assert answer.code == 0 and answer.json == {"copy": str(copy), "bytes": copy.stat().st_size}
    assert run(drive, "backup", copy).code == 5  # never over another
    assert run(drive, "backup", tmp_path).code == 0 and len(list(tmp_path.glob("catalogue.*.sqlite"))) == 1
    late = [put(drive, f"P/E/{number}.bin") for number in range(3)]
    drive.wait_imported(*late)
    known = originals(drive)
    drive.stop()
    destroy(drive)
    subprocess.run(["cp", copy, drive.layout.catalogue], check=True)
    answer = run(drive, "fsck", "--rebuild-catalogue")
    assert answer.code == 1, answer.out
    assert "rebuilt: 6 filesets of 6 files" in answer.out and "the audit trail" in answer.out
    assert originals(drive) == known


def test_ids_of_a_killed_daemon_are_not_given_again(drive: Drive, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    assert run(drive, "backup", copy).code == 0
    paths = [put(drive, f"{number}.bin") for number in range(3)]
    drive.wait_imported(*paths)
    drive.kill()
    subprocess.run(["umount", "-l", drive.mountpoint], check=True)
    destroy(drive)
    subprocess.run(["cp", copy, drive.layout.catalogue], check=True)
    with running(drive, drive.start):
        new = put(drive, "new.bin")
        drive.wait_imported(new)
        number = fact(new, "fileset")
        assert number is not None and int(number.partition(":")[2]) > 3
        drive.check()
        drive.stop()
        assert run(drive, "fsck", "--rebuild-catalogue").code == 1
        assert len(originals(drive)) == 4


def test_users_and_groups_come_back(drive: Drive) -> None:
    answer = run(drive, "group", "add", "team", "--gid", "4711", "--permissions", "read-write")
    assert answer.code == 0, answer.err
    assert run(drive, "group", "add-member", "team", BOB.name, "--owner").code == 0
    users, groups = run(drive, "user", "list", "--json").json, run(drive, "group", "list", "--json").json
    drive.stop()
    destroy(drive)
    assert run(drive, "fsck", "--rebuild-catalogue").code == 5
    assert run(drive, "user", "list", "--json").json == users
    assert run(drive, "group", "list", "--json").json == groups


def test_what_was_deleted_is_listed_and_restored(drive: Drive) -> None:
    kept, gone = put(drive, "P/kept.bin"), put(drive, "P/gone.bin")
    drive.wait_imported(kept, gone)
    number, content = fact(gone, "fileset"), gone.read_bytes()
    assert number is not None and run(drive, "delete", "--yes", number).code == 0
    listed = run(drive, "trash", "list", "--json").out
    assert number in listed and not gone.exists()
    drive.stop()
    destroy(drive)
    answer = run(drive, "fsck", "--rebuild-catalogue", "--json")
    assert json.loads(answer.out.splitlines()[-1])["trashed"] == 1
    with running(drive, drive.start):
        assert run(drive, "trash", "list", "--json").out == listed
        assert run(drive, "trash", "restore", number).code == 0
        assert gone.read_bytes() == content and fact(gone, "fileset") == number
        drive.check()
