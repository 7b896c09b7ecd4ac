"""Filesets are deleted by rm -r and by command, whole or not at all, by who may; and come back from the trash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from repofs.catalog import audit
from repofs.catalog.engine import open_engine
from repofs.cli import app, attributes, delete, exit_codes, trash
from repofs.namespace.deleting import QUIET_SECONDS
from tests.helpers.administered import Administered, administered
from tests.helpers.command_line import Answer, repofs
from tests.helpers.companion import answer, companion
from tests.helpers.drops import drop
from tests.helpers.mounting import QUICK, REPOFS, fact, scratch
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

IMPORTED_BEFORE = (app, attributes, delete, exit_codes, trash)
LAB = 61000
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)  # a member
BOSS = Person("boss", 61003, LAB)  # an owner of the group
EVE = Person("eve", 61099, 61099)  # a stranger
SETTINGS = QUICK + '[[sources]]\nname = "scope1"\npath = "@outside@"\n'


def populate(drive: Administered) -> None:
    drive.add_group("lab", LAB, "read-only")
    for person in (ALICE, BOB, BOSS):
        drive.add_user(person, "lab")
    drive.add_member("lab", BOSS, owner=True)


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    with administered(populate, SETTINGS) as drive:
        yield drive


@pytest.fixture(autouse=True)
def read_only(drive: Administered) -> Iterator[None]:
    yield
    drive.set_permissions("lab", "read-only")


def imported(drive: Administered, path: Path, *names: str) -> tuple[str, Path]:
    """Import a file, or the files of a directory; return the fileset and its import directory, as the mount has it."""
    if names:
        for name in names:
            for above in reversed((path / name).relative_to(path.parent).parents[:-1]):
                if not (path.parent / above).exists():
                    ALICE.do(os.mkdir, path.parent / above)
            drop(ALICE, path / name)
        drive.wait_imported(*(path / name for name in names), seconds=60)
        one = path / names[0]
    else:
        one = drop(ALICE, path)
        drive.wait_imported(one)
    original = drive.original_of(one)
    for _ in (names or ("",))[0].split("/")[:-1]:
        original = original.parent
    return str(fact(one, "fileset")), original.parent.parent if names else original.parent


def ask(drive: Administered, person: Person, *words: str | Path) -> Answer:
    return person.do(repofs, "-C", str(drive.repository), *map(str, words))


def told(drive: Administered, person: Person, *words: str | Path) -> Any:
    done = ask(drive, person, *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def in_trash(drive: Administered, person: Person = ROOT) -> list[str]:
    return [one["fileset"] for one in told(drive, person, "trash", "list")]


def audited(drive: Administered, fileset: str) -> list[tuple[int, str, bool]]:
    engine = open_engine(drive.layout.catalogue, read_only=True)
    try:
        with engine.begin() as conn:
            return [
                (one.actor_uid, one.act, one.refusal is not None)
                for one in audit.entries(conn)
                if one.target == fileset
            ]
    finally:
        engine.dispose()


# --- through the mount ------------------------------------------------------------------------------


def by_rmtree(path: Path) -> None:
    ALICE.do(shutil.rmtree, path)


def by_rsync(path: Path) -> None:
    with scratch() as empty:
        ALICE.run("rsync", "-r", "--delete", f"{empty}/", f"{path}/")


WAYS: dict[str, Callable[[Path], object]] = {
    "rm -r": lambda path: ALICE.run("rm", "-r", path),
    "rm -rf": lambda path: ALICE.run("rm", "-rf", path),
    "shutil.rmtree": by_rmtree,
    "find -delete": lambda path: ALICE.run("find", path, "-delete"),
    "rsync --delete": by_rsync,
    "gio remove": lambda path: [ALICE.run("gio", "remove", one) for one in [*path.iterdir(), path]],
}


@pytest.mark.parametrize("way", WAYS)
def test_an_import_directory_is_deleted_as_any_directory_is(drive: Administered, folder: Path, way: str) -> None:
    fileset, directory = imported(drive, folder / "scan.tif")
    assert (folder / "scan.tif").exists()
    WAYS[way](directory)
    if way == "rsync --delete":  # which leaves the directory itself: it is deleted when nothing more comes
        until(lambda: not directory.exists(), "deleted")
    assert in_trash(drive) == [fileset]
    log = directory.with_name(directory.name + ".log")
    until(lambda: not any(path.exists() for path in (directory, log, folder / "scan.tif")), "nothing is left")
    assert os.listdir(folder) == []
    assert audited(drive, fileset) == [(ALICE.uid, "delete", False)]
    if way == "rm -r":
        told(drive, ALICE, "trash", "restore", fileset)
        drive.wait_imported(folder / "scan.tif")
        assert (directory / "scan.tif").samefile(folder / "scan.tif") and log.exists()
        told(drive, ALICE, "delete", fileset)
        assert not directory.exists() and os.listdir(folder) == []
    told(drive, ALICE, "trash", "empty", "--yes")
    assert in_trash(drive) == []


@pytest.mark.parametrize("way", ["rm -r", "shutil.rmtree", "find -delete"])
def test_a_directory_that_is_one_fileset_is_deleted_whole(drive: Administered, folder: Path, way: str) -> None:
    names = (".zattrs", "0/0.0", "0/0.1", "1/0/0")
    fileset, directory = imported(drive, folder / "a.zarr", *names)
    assert sorted(os.listdir(directory)) == ["a.zarr"]
    WAYS[way](directory)
    assert in_trash(drive) == [fileset]
    until(lambda: not directory.exists() and os.listdir(folder) == [], "nothing is left")
    ALICE.do(os.mkdir, folder / "a.zarr")  # the kernel has forgotten the name
    drop(ALICE, folder / "a.zarr" / "0")
    [restored] = told(drive, ALICE, "trash", "restore", fileset)
    assert restored["told"] == [f"{folder.name}/a.zarr is taken: it is {folder.name}/a.restored.zarr now"]
    assert (folder / "a.restored.zarr" / "1/0/0").samefile(directory / "a.zarr/1/0/0")
    told(drive, ALICE, "delete", fileset)
    told(drive, ALICE, "trash", "empty", fileset)


def test_who_stops_half_way_has_deleted_nothing(drive: Administered, folder: Path) -> None:
    fileset, directory = imported(drive, folder / "b.zarr", "0", "1")
    whole = directory / "b.zarr"
    ALICE.do(os.unlink, whole / "0")
    assert ALICE.do(os.listdir, whole) == ["1"]
    assert sorted(BOB.do(os.listdir, whole)) == ["0", "1"]
    assert answer(ALICE.do, os.rmdir, whole) == "ENOTEMPTY"
    assert answer(ALICE.do, os.rmdir, directory) == "EPERM"
    assert BOB.do((folder / "b.zarr" / "0").read_bytes)
    assert in_trash(drive) == []
    told(drive, ALICE, "delete", fileset)
    assert in_trash(drive) == [fileset]
    told(drive, ALICE, "trash", "empty", fileset)


def test_what_somebody_else_deletes_meanwhile_is_looked_at_no_more(drive: Administered, folder: Path) -> None:
    """Its import directory is gone, but Bob has it open; then its inode number is free for another."""
    fileset, directory = imported(drive, folder / "b.zarr", "0", "1")
    with companion(BOB) as bob:
        fd = bob.do(os.open, directory, os.O_RDONLY)
        ALICE.do(os.unlink, directory / "b.zarr" / "0")
        told(drive, BOSS, "delete", fileset)
        time.sleep(QUIET_SECONDS + 1)
        assert bob.do(os.listdir, fd) == ["b.zarr"]  # in the trash
        told(drive, ALICE, "trash", "empty", fileset)
    another, directory = imported(drive, folder / "b.zarr", "0", "1")
    assert sorted(ALICE.do(os.listdir, directory / "b.zarr")) == ["0", "1"]
    told(drive, ALICE, "delete", another)
    told(drive, ALICE, "trash", "empty", another)


def test_its_last_file_takes_a_fileset_along(drive: Administered, folder: Path) -> None:
    fileset, directory = imported(drive, folder / "scan.tif")
    ALICE.run("rm", directory / "scan.tif")
    until(lambda: in_trash(drive) == [fileset], "deleted")
    until(lambda: not directory.exists(), "gone")
    told(drive, ALICE, "trash", "empty", fileset)


def test_a_log_is_not_removed_by_itself(drive: Administered, folder: Path) -> None:
    _, directory = imported(drive, folder / "scan.tif")
    log = directory.with_name(directory.name + ".log")
    assert answer(ALICE.do, os.unlink, log) == "EPERM"
    assert answer(ALICE.do, os.rmdir, directory.parent) == "EPERM"


def test_who_has_it_open_reads_on(drive: Administered, folder: Path) -> None:
    fileset, _ = imported(drive, folder / "scan.tif")
    content = (folder / "scan.tif").read_bytes()
    with (folder / "scan.tif").open("rb") as file:
        told(drive, ALICE, "delete", fileset)
        assert not (folder / "scan.tif").exists()
        assert file.read() == content
        told(drive, ALICE, "trash", "empty", fileset)
        file.seek(0)
        assert file.read() == content


# --- who may ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "may"),
    [("private", {BOSS}), ("read-only", {BOSS}), ("read-annotate", {BOSS}), ("read-write", {BOB, BOSS})],
)
def test_who_may_delete_is_omeros_matrix(drive: Administered, folder: Path, level: str, may: set[Person]) -> None:
    drive.set_permissions("lab", level)
    fileset, directory = imported(drive, folder / "scan.tif")
    for person in {BOB, BOSS, EVE} - may:
        assert ask(drive, person, "delete", fileset).code == exit_codes.ExitCode.REFUSED
        assert person.run("rm", "-rf", directory, check=False).returncode == 1
        assert in_trash(drive) == []
    for number, person in enumerate(sorted(may | {ALICE, ROOT}, key=lambda one: one.uid)):
        if number:
            told(drive, ALICE, "trash", "restore", fileset)
        assert told(drive, person, "delete", fileset)[0]["fileset"] == fileset
        told(drive, person, "trash", "restore", fileset)
        person.run("rm", "-r", directory)
    for other in {BOB, BOSS, EVE} - may:
        assert in_trash(drive, other) == []
        for words in (("trash", "restore"), ("trash", "empty"), ("delete",)):
            assert ask(drive, other, *words, fileset).code == exit_codes.ExitCode.REFUSED
    told(drive, ALICE, "trash", "restore", fileset)
    assert folder.joinpath("scan.tif").read_bytes()
    assert EVE.uid in refused(drive)


def refused(drive: Administered) -> set[int]:
    """Return who was refused to delete something, once the mount has told the audit trail."""

    def found() -> set[int]:
        engine = open_engine(drive.layout.catalogue, read_only=True)
        try:
            with engine.begin() as conn:
                return {one.actor_uid for one in audit.entries(conn, refused=True) if one.act == "delete"}
        finally:
            engine.dispose()

    return until(found, "refusals are told")


def test_emptying_all_takes_ones_own_and_what_one_administers(drive: Administered, folder: Path) -> None:
    drive.set_permissions("lab", "read-write")
    fileset, _ = imported(drive, folder / "scan.tif")
    told(drive, BOB, "delete", fileset)
    assert told(drive, BOB, "trash", "empty", "--dry-run")["filesets"] == []
    [found] = told(drive, BOSS, "trash", "empty", "--dry-run")["filesets"]
    assert (found["fileset"], found["owner"], found["by"]) == (fileset, "alice", "bob")
    assert told(drive, ALICE, "trash", "empty", "--older-than", "1")["filesets"] == []
    assert told(drive, BOB, "trash", "empty", fileset)["freed"] == found["size"] > 0


# --- what is told --------------------------------------------------------------------------------------


def test_an_image_names_its_whole_fileset_and_says_so(drive: Administered, folder: Path, scan: Path) -> None:
    shutil.copy(scan, folder / "scan.tif")
    drive.wait_imported(folder / "scan.tif")
    image = fact(folder / "scan.tif", "images")
    fileset = fact(folder / "scan.tif", "fileset")
    size = scan.stat().st_size
    done = ask(drive, ALICE, "delete", "--dry-run", image)
    assert f"{image} is in {fileset}, which goes whole: 1 file, 1 image, of alice" in done.out
    assert f"{fileset} would go to the trash for 30 days, and frees" in done.out
    assert in_trash(drive) == []
    done = ask(drive, ALICE, "delete", image)
    assert f"{fileset} is in the trash until" in done.out
    [kept] = told(drive, ALICE, "trash", "list")
    assert kept["size"] == size
    again = ask(drive, ALICE, "delete", str(fileset))
    assert again.code == exit_codes.ExitCode.NOT_FOUND and f"repofs trash restore {fileset}" in again.err
    assert answer(os.getxattr, drive.mountpoint, f"user.repofs.{fileset}") == "ENODATA"
    ask(drive, ALICE, "trash", "restore", str(fileset))
    assert json.loads(os.getxattr(drive.mountpoint, f"user.repofs.{image}"))["size_z"] == 3


def test_a_path_is_a_file_or_all_below_a_directory(drive: Administered, folder: Path) -> None:
    first, _ = imported(drive, folder / "1.tif")
    second, _ = imported(drive, folder / "2.tif")
    done = told(drive, ALICE, "delete", folder)
    assert [one["fileset"] for one in done] == [first, second]
    drop(ALICE, folder / ".waits")
    done = ask(drive, ALICE, "delete", folder / ".waits")
    assert done.code == exit_codes.ExitCode.INVALID and "nothing was imported of it" in done.err
    told(drive, ALICE, "trash", "empty", first, second)


@pytest.mark.parametrize("transfer", ["ln_s", "ln"])
def test_of_what_is_in_place_the_source_is_not_touched_and_nothing_is_freed(
    drive: Administered, folder: Path, transfer: str
) -> None:
    source = drive.outside / f"{transfer}.tif"
    source.write_bytes(transfer.encode())
    source.chmod(0o644)
    [report] = json.loads(drive.command("import", "--as", "alice", "--transfer", transfer, "--output", "json", source))
    fileset = report["fileset"]
    out = ask(drive, ALICE, "delete", fileset).out
    assert "frees 0 B when that is emptied" in out
    assert ("which has its bytes, is not touched" if transfer == "ln_s" else "only the hard link") in out
    told(drive, ALICE, "trash", "restore", fileset)
    told(drive, ALICE, "delete", fileset)
    assert told(drive, ALICE, "trash", "empty", fileset)["freed"] == 0
    assert source.read_bytes() == transfer.encode()


def test_without_a_daemon_it_says_to_mount(drive: Administered, tmp_path: Path) -> None:
    assert repofs("init", str(tmp_path / "other")).code == 0
    for words in (("trash", "list"), ("delete", "Fileset:1")):
        done = repofs("-C", str(tmp_path / "other"), *words)
        assert done.code == exit_codes.ExitCode.NO_DAEMON and "mount it first" in done.err
    assert ask(drive, ALICE, "delete", "Dataset:1").code == exit_codes.ExitCode.INVALID
    assert ask(drive, ALICE, "trash", "restore", "Image:1").code == exit_codes.ExitCode.INVALID
    assert ask(drive, ALICE, "trash", "restore", "Fileset:999").code == exit_codes.ExitCode.NOT_FOUND


def test_it_asks_on_a_terminal(drive: Administered, folder: Path) -> None:
    fileset, _ = imported(drive, folder / "scan.tif")
    command = f"{' '.join(REPOFS)} -C {drive.repository} delete {fileset}"
    done = subprocess.run(["script", "-qec", command, "/dev/null"], input="n\n", text=True, capture_output=True)
    assert "Delete 1 fileset? [y/N]" in done.stdout
    assert in_trash(drive) == []
