"""A catalogue that was destroyed, truncated or a day old is rebuilt from the tree:
it equals the lost one, row for row."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from repofs import config
from repofs.administration.keeping import KeptPeople, end_counters, keep_counters
from repofs.catalog import engine, ids, moves, records, users, verification
from repofs.catalog.verification import Found
from repofs.image import Channel, ImageInfo, Members, Recognised
from repofs.inspection.imported_tree import ImportedTree
from repofs.inspection.rebuild import Rebuilt, rebuild
from repofs.lifecycle import State
from repofs.model import (
    Closed,
    Drop,
    Duplicates,
    Event,
    FilesetId,
    Identity,
    Origin,
    Original,
    OriginalFileId,
    PermissionLevel,
    Policy,
)
from repofs.repository import import_directory, stand_ins
from repofs.repository.layout import load_key
from repofs.repository.log_records import LogRecords
from repofs.repository.outside import identity_of
from tests.helpers.command_line import repofs
from tests.helpers.imported import imported, importing
from tests.helpers.importing import FakeReaders, Repository

IMAGE = ImageInfo(
    "scan", 0, 512, 256, 1, 2, 1, "uint16", physical_size_x_um=0.1, channels=(Channel("DAPI", "#0000FF"), Channel())
)
TRANSFERS = ("upload", "upload_rm", "ln", "ln_rm", "ln_s", "cp", "cp_rm")
# What docs/reference/rebuilding.md promises, and what of these tables it does not.
PROMISED = {
    "groups": (), "experimenters": (), "memberships": (), "imports": ("ending", "ended"), "filesets": (),
    "original_files": ("verified",), "fileset_entries": (), "origins": (), "images": ("thumbnail",),
    "channels": ("min", "max"), "projects": (), "datasets": (), "project_dataset_links": (), "dataset_image_links": (),
}  # fmt: skip

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has directories of several users")

Rows = dict[str, list[dict[str, Any]]]


def rows(path: Path) -> Rows:
    """Return all that is promised of the catalogue at *path*."""
    found: Rows = {}
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        for table, without in PROMISED.items():
            told = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
            kept = [{key: value for key, value in row.items() if key not in without} for row in told]
            found[table] = sorted(kept, key=lambda row: [str(value) for value in row.values()])
    return found


class Lab:
    """A repository in which everything has been imported that there is to import, and its source."""

    def __init__(self, root: Path) -> None:
        self.source = root / "scope1"
        self.source.mkdir()
        self.settings = config.Settings(sources=(config.Source(name="scope1", path=self.source),))
        self.repository = Repository.make(root / "repository")
        self.layout = self.repository.layout
        self.readers = FakeReaders()
        if os.geteuid() == 0:
            for user, uid in ((self.repository.alice, 5000), (self.repository.bob, 5001)):
                os.chown(self.repository.path(user, b"."), uid, -1)
        with self.repository.engine.begin() as conn:
            self.team = users.add_group(conn, "team", 6000, PermissionLevel.READ_WRITE)
            users.add_member(conn, users.experimenter_by_name(conn, "bob").id, self.team.id, owner=True)
            former = users.add_experimenter(conn, "carol", 5002, self.team.id)
            users.remove_experimenter(conn, former.id)
            KeptPeople(self.layout).keep(conn)

    async def fill(self, day: str = "monday") -> None:
        alice, bob = self.repository.alice, self.repository.bob
        metadata = {"Make": "Zeiss", "odd": "a\0b \udcff"}
        self.readers.answers["scan.tif"] = Recognised("TIFF", (IMAGE,), metadata)
        self.readers.answers["plate.czi"] = Recognised(
            "CZI", tuple(ImageInfo(f"well {n}", n, 8, 8, 1, 1, 1, "uint8") for n in range(40))
        )
        self.readers.answers["odd\udcff.tif"] = Recognised("TIFF", (IMAGE,), note="not whole")
        self.readers.filesets["many.tif"] = Members("many.tif", ("many.tif", "other.tif"))
        async with importing(self.repository, self.readers, self.settings) as pipeline:
            for user, name, target in (
                (alice, b"P/D/scan.tif", None),
                (alice, b"P/D/plate.czi", None),
                (alice, b"P/E/scan.tif", "Dataset:@name:new"),
                (alice, b"odd\xff.tif", "Project:name:Q/Dataset:name:D"),
                (bob, b"notes.txt", None),
                (bob, b"D/scan.tif", None),
            ):
                path = os.path.join(os.path.dirname(name), day.encode(), os.path.basename(name))
                self.repository.write(user, path, os.urandom(10))
                await imported(pipeline, *self.repository.drop(user, path, target=target))
            directory = b"%s/a.zarr" % day.encode()
            self.repository.write(alice, directory + b"/.zattrs")
            self.repository.write(alice, directory + b"/0/0.0")
            await imported(pipeline, *self.repository.drop(alice, directory))
            for transfer in TRANSFERS:
                await imported(pipeline, *self.linked(transfer, day))

    def linked(self, transfer: str, day: str) -> tuple[Drop, int]:
        """Make a stand-in of a new file in the source, as the mount would hand it over."""
        name = f"{transfer} {day}.tif"
        outside = self.source / name
        outside.write_bytes(os.urandom(12))
        self.readers.answers[name] = Recognised("TIFF", (IMAGE,))
        origin = Origin("scope1", name, identity(outside), transfer)
        user = self.repository.path(self.repository.alice, b"in place")
        user.mkdir(exist_ok=True)
        me, gid = os.getuid(), os.getgid()
        fd = os.open(user, os.O_RDONLY)
        try:
            stand_ins.make(fd, name.encode(), origin, uid=me, gid=gid, actor_uid=me, marks=self.repository.marks)
        finally:
            os.close(fd)
        path = b"in place/" + name.encode()
        policy, events = Policy(3.0, Duplicates.IMPORT), (Event(1, "linked"),)
        inode = (user / name).stat().st_ino
        drop = Drop(inode, self.repository.alice, path, False, None, policy, events, me, "me", gid, transfer)
        return drop, os.open(user / name, os.O_RDONLY)

    def move(self, filesets: list[int], group: int, gid: int) -> None:
        """chgrp, as the importer does it."""
        signed = LogRecords(load_key(self.layout))
        with self.repository.engine.begin() as conn:
            places = moves.move(conn, [FilesetId(one) for one in filesets], users.GroupId(group))
        with self.repository.engine.begin() as conn:
            for fileset, user_directory, name in places:
                line = signed.lines(records.written(records.of_move(conn, fileset)))
                import_directory.give(self.layout, user_directory, name, gid, line)

    def rebuilt(self) -> Rebuilt:
        self.repository.engine.dispose()
        return rebuild(self.layout, self.settings, lambda _: None)


def identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    trio.run(made.fill)
    return made


def destroyed(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


@pytest.mark.parametrize("harm", [destroyed, truncated, garbage])
def test_a_lost_catalogue_comes_back_row_by_row(lab: Lab, harm: Callable[[Path], None]) -> None:
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    assert len(before["filesets"]) == 14 and len(before["origins"]) == 7 and len(before["datasets"]) >= 4
    harm(lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    assert rows(lab.layout.catalogue) == before
    assert rebuilt.filesets == 14
    [lack] = rebuilt.lacks
    assert (lack.path, "the audit trail" in lack.reason) == (b"", True)
    assert lack.reason.startswith("there is no" if harm is destroyed else "the catalogue of before cannot be read (")
    assert (rebuilt.kept is None) is (harm is destroyed)


def test_a_catalogue_of_yesterday_is_brought_up_to_today(lab: Lab, tmp_path: Path) -> None:
    yesterday = tmp_path / "yesterday.sqlite"
    with lab.repository.engine.begin() as conn:
        conn.exec_driver_sql("INSERT INTO audit (time, actor_uid, act, detail) VALUES ('2026', 0, 'user.add', '{}')")
        conn.exec_driver_sql("UPDATE images SET thumbnail = 'made'")
        conn.exec_driver_sql("INSERT INTO hooks VALUES ('slack', 3)")
    engine.back_up(lab.layout.catalogue, yesterday, lambda done, total: None)
    with lab.repository.engine.begin() as conn:
        conn.exec_driver_sql("UPDATE images SET thumbnail = NULL WHERE id = 1")
    trio.run(lab.fill, "tuesday")
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    assert len(before["filesets"]) == 28
    destroyed(lab.layout.catalogue)
    shutil.copy(yesterday, lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    assert rows(lab.layout.catalogue) == before
    assert rebuilt.lacks == [] and rebuilt.kept is not None and rebuilt.kept.exists()
    with lab.repository.engine.begin() as conn:
        assert conn.exec_driver_sql("SELECT count(*) FROM audit WHERE act = 'user.add'").scalar() == 1
        assert conn.exec_driver_sql("SELECT thumbnail FROM images WHERE id = 1").scalar() == "made"
        assert conn.exec_driver_sql("SELECT delivered FROM hooks").scalar() == 28  # none is told again


def test_what_was_moved_to_another_group_is_there(lab: Lab) -> None:
    team, lab_gid = lab.team, os.getgid()
    lab.move([1, 3, 4], team.id, team.gid if os.geteuid() == 0 else lab_gid)
    lab.move([2], team.id, team.gid if os.geteuid() == 0 else lab_gid)
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    destroyed(lab.layout.catalogue)
    lab.rebuilt()
    assert rows(lab.layout.catalogue) == before


def test_without_the_file_of_people_records_tell_who_owns_what(lab: Lab) -> None:
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    destroyed(lab.layout.catalogue)
    lab.layout.people.write_bytes(b"garbage")
    rebuilt = lab.rebuilt()
    assert any("people" in lack.reason for lack in rebuilt.lacks)
    after = rows(lab.layout.catalogue)
    assert [one["user_name"] for one in after["experimenters"]] == ["alice", "bob"]  # carol had nothing
    assert {**after, **{table: before[table] for table in ("experimenters", "groups", "memberships")}} == before


@needs_root
def test_where_no_record_tells_marks_do_and_the_rest_is_listed(lab: Lab) -> None:
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    for found in (tree := ImportedTree(lab.layout)):
        log = Path(os.fsdecode(tree.log_path(found)))
        log.write_bytes(b"".join(line for line in log.open("rb") if not line.startswith(b"record ")))
    destroyed(lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    after = rows(lab.layout.catalogue)
    for table, told in {
        "filesets": ("id", "import_id", "owner_id", "group_id", "import_directory", "transfer", "imported", "note"),
        "original_files": ("id", "owner_id", "group_id", "size", "mtime_ns", "checksum"),
        "fileset_entries": ("fileset_id", "original_id", "name"),
    }.items():
        assert picked(after[table], told) == picked(before[table], told)
    assert after["images"] == []
    assert {lack.path for lack in rebuilt.lacks if lack.path and "images" in lack.reason}
    assert rebuilt.filesets == 14


@needs_root
def test_a_catalogue_of_before_tells_what_older_logs_do_not(lab: Lab) -> None:
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    for found in (tree := ImportedTree(lab.layout)):
        Path(os.fsdecode(tree.log_path(found))).write_bytes(b"an older log\n")
    lab.rebuilt()
    after = rows(lab.layout.catalogue)
    assert {table for table in before if after[table] != before[table]} <= {"origins"}  # how removals ended


def picked(told: list[dict[str, Any]], columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row[column] for column in columns) for row in told), key=str)


def test_an_import_in_whose_middle_the_daemon_died_is_left_to_the_next_mount(lab: Lab) -> None:
    repository = lab.repository
    [one] = [row for row in repository.originals() if row["original"] == "OriginalFile:1"]
    with repository.engine.begin() as conn:
        number = conn.exec_driver_sql("SELECT import_id FROM filesets WHERE id = 1").scalar()
    path = repository.layout.managed / str(one["path"])
    log = next(Path(os.fsdecode(ImportedTree(lab.layout).log_path(found))) for found in ImportedTree(lab.layout))
    os.link(log, lab.layout.staging / f"{number}.log")
    status = path.stat()
    repository.marks.write(str(path), Closed(status.st_size, status.st_mtime_ns))
    destroyed(lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    assert rebuilt.filesets == 13
    assert any("in the middle" in lack.reason for lack in rebuilt.lacks)


def test_a_fileset_that_is_there_twice_is_taken_once(lab: Lab) -> None:
    found = next(iter(ImportedTree(lab.layout)))
    directory = lab.repository.path(found.user_directory, found.name)
    subprocess.run(["cp", "-a", directory, f"{directory}x"], check=True)
    subprocess.run(["cp", "-a", f"{directory}.log", f"{directory}x.log"], check=True)
    place = os.getxattr(f"{directory}.log", "user.repofs.place")
    os.setxattr(f"{directory}x.log", "user.repofs.place", place + b"x")
    destroyed(lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    assert rebuilt.filesets == 14
    assert [lack.path for lack in rebuilt.lacks if lack.path] == [found.user_directory + b"/" + found.name + b"x"]


def test_ids_are_never_given_twice(lab: Lab) -> None:
    counters = keep_counters(lab.layout, lab.repository.engine, alone=True)
    trio.run(lab.fill, "tuesday")
    end_counters(counters, lab.repository.engine)
    with lab.repository.engine.begin() as conn:
        before = ids.following(conn)
        for table in ("dataset_image_links", "channels", "images", "fileset_entries"):
            conn.exec_driver_sql(f"DELETE FROM {table}")
    shutil.rmtree(lab.repository.path(lab.repository.alice, next(iter(ImportedTree(lab.layout))).name))
    destroyed(lab.layout.catalogue)
    lab.rebuilt()
    with lab.repository.engine.begin() as conn:
        after = ids.following(conn)
    assert {kind: after[kind] for kind in before if kind != "Ending"} == {
        kind: before[kind] for kind in before if kind != "Ending"
    }


def test_what_cannot_be_made_leaves_all_as_it_was(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("repofs.catalog.engine._sync", fails)
    with pytest.raises(OSError, match="No space"):
        lab.rebuilt()
    assert rows(lab.layout.catalogue) == before
    monkeypatch.undo()
    assert lab.rebuilt().filesets == 14


@needs_root
def test_a_repository_of_before_is_rebuilt_once_fsck_has_written_its_records(lab: Lab) -> None:
    lab.move([1, 3], lab.team.id, lab.team.gid)
    lab.repository.engine.dispose()
    source = f'[[sources]]\nname = "scope1"\npath = "{lab.source}"\n'
    lab.layout.settings.write_text(source)
    for found in (tree := ImportedTree(lab.layout)):
        Path(os.fsdecode(tree.log_path(found))).write_bytes(b"an older log\n")
    before = rows(lab.layout.catalogue)
    answer = repofs("-C", lab.layout.root, "fsck", "--repair", "--json")
    *findings, summary = map(json.loads, answer.out.splitlines())
    assert [one["code"] for one in findings if one["code"] == "record-missing"] == ["record-missing"] * 14
    assert summary["left"] == 0
    destroyed(lab.layout.catalogue)
    rebuilt = lab.rebuilt()
    assert rows(lab.layout.catalogue) == before
    assert [lack.path for lack in rebuilt.lacks] == [b""]


def test_how_originals_were_found_is_taken_from_their_marks(lab: Lab) -> None:
    paths = {str(one["original"]): lab.layout.managed / str(one["path"]) for one in lab.repository.originals()}
    found = []
    for number, state in ((1, State.ALTERED), (3, State.MISSING), (5, State.OFFLINE)):
        path = str(paths[f"OriginalFile:{number}"])
        mark = lab.repository.marks.read(path)
        assert isinstance(mark, Original)
        lab.repository.marks.write(path, replace(mark, stands=state))
        found.append(Found(OriginalFileId(number), state))
    with lab.repository.engine.begin() as conn:
        assert verification.record(conn, found) == [True] * 3
    lab.repository.engine.dispose()
    before = rows(lab.layout.catalogue)
    assert {one["stands"] for one in before["original_files"]} == {None, "altered", "missing", "offline"}
    destroyed(lab.layout.catalogue)
    lab.rebuilt()
    assert rows(lab.layout.catalogue) == before
