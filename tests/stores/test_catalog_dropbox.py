"""The files of watched folders in the catalogue: the queue, and what is known to have been imported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repofs.catalog import dropbox
from repofs.catalog.dropbox import File, FileState, Place, Version
from repofs.catalog.engine import Connection
from repofs.model import Identity
from tests.helpers import catalogue
from tests.helpers.catalogue import Lab
from tests.helpers.dropbox import record

SCAN = b"alice/set/scan.tif"
IDENTITY = Identity(device=66, inode=2**64 - 5, handle=b"handle", size=10, mtime_ns=7, ctime_ns=8)


@pytest.fixture
def lab(conn: Connection) -> Lab:
    return catalogue.lab(conn)


def file(path: bytes = SCAN, identity: Identity = IDENTITY, *, inodes: bool = True, is_directory: bool = False) -> File:
    """Return a file that is to be queued, as it is found on a disk or (not *inodes*) on a share."""
    directory, _, name = path.rpartition(b"/")
    version = Version(identity.inode if inodes else 0, identity.size, identity.mtime_ns, identity.ctime_ns)
    handle = identity.handle if inodes else b""
    return File(Place("scope", directory, name), is_directory, version, FileState.QUEUED, handle)


def state(conn: Connection, one: File) -> FileState:
    """Return the state of *one* after it was offered to the queue."""
    dropbox.enqueue(conn, [[one]])
    found = dropbox.files_in(conn, "scope", one.place.directory, [one.place.name])[one.place.name]
    assert replace(found, state=one.state, fileset=None, since="") == one
    return found.state


def test_the_queue_is_in_the_order_in_which_it_grew(conn: Connection) -> None:
    names = [b"b", b"c", b"a"]
    for number, name in enumerate(names):
        dropbox.put(conn, [[replace(file(b"alice/" + name), since=f"2026-11-22T12:00:0{number}")]])
    dropbox.put(conn, [[replace(file(b"alice/done"), state=FileState.IMPORTED)]])
    assert [one.place.name for one in dropbox.queued(conn, ["scope"], None)] == names
    assert [one.place.name for one in dropbox.queued(conn, ["scope"], 2)] == names[:2]
    assert dropbox.queued(conn, ["other"], None) == []


def test_what_was_imported_is_known_under_every_name_of_its_user(conn: Connection, lab: Lab) -> None:
    fileset = record(conn, lab, "scope", SCAN, [(b"scan.tif", IDENTITY)])
    for path in (SCAN, b"alice/renamed.tif"):
        assert state(conn, file(path)) is FileState.IMPORTED
    assert dropbox.files_in(conn, "scope", b"alice/set", None)[b"scan.tif"].fileset == fileset
    assert state(conn, file(b"bob/scan.tif")) is FileState.QUEUED


@pytest.mark.parametrize(
    "change", [{"size": 11}, {"mtime_ns": 8}, {"inode": 3}, {"handle": b"of a later inode of the same number"}], ids=str
)
def test_another_file_in_its_place_is_new(conn: Connection, lab: Lab, change: dict[str, object]) -> None:
    record(conn, lab, "scope", SCAN, [(b"scan.tif", IDENTITY)])
    assert state(conn, file(identity=replace(IDENTITY, **change))) is FileState.QUEUED  # type: ignore[arg-type]


def test_another_ctime_or_device_is_the_same_file(conn: Connection, lab: Lab) -> None:
    record(conn, lab, "scope", SCAN, [(b"scan.tif", IDENTITY)])
    assert state(conn, file(identity=replace(IDENTITY, ctime_ns=99, device=1))) is FileState.IMPORTED


def test_without_inodes_the_path_tells(conn: Connection, lab: Lab) -> None:
    record(conn, lab, "scope", SCAN, [(b"scan.tif", IDENTITY)])
    assert state(conn, file(inodes=False)) is FileState.IMPORTED
    assert state(conn, file(b"alice/renamed.tif", inodes=False)) is FileState.QUEUED
    assert state(conn, file(identity=replace(IDENTITY, size=11), inodes=False)) is FileState.QUEUED


def test_a_directory_is_known_by_all_its_files_together(conn: Connection, lab: Lab) -> None:
    files = [(b"a.zarr/0", IDENTITY), (b"a.zarr/1", replace(IDENTITY, inode=6, mtime_ns=9))]
    record(conn, lab, "scope", b"alice/a.zarr", files)
    whole = replace(IDENTITY, size=20, mtime_ns=9)
    assert state(conn, replace(file(b"alice/a.zarr", whole, is_directory=True), handle=b"")) is FileState.IMPORTED
    more = replace(whole, size=30)
    assert state(conn, replace(file(b"alice/a.zarr", more, is_directory=True), handle=b"")) is FileState.QUEUED


def test_resuming_takes_out_of_the_queue_what_was_imported(conn: Connection, lab: Lab) -> None:
    dropbox.put(conn, [[file(), file(b"alice/other.tif", replace(IDENTITY, inode=9))]])
    record(conn, lab, "scope", SCAN, [(b"scan.tif", IDENTITY)])
    dropbox.resume(conn, [["scope"]])
    assert [one.place.path for one in dropbox.queued(conn, ["scope"], None)] == [b"alice/other.tif"]


def test_forgetting_a_directory_leaves_its_neighbours(conn: Connection) -> None:
    kept, gone = [b"alice/set0/a", b"alice/set.d/a", b"alice/a"], [b"alice/set/a", b"alice/set/deep/a"]
    dropbox.put(conn, [[file(path) for path in (*kept, *gone)]])
    dropbox.forget_directories(conn, [("scope", [b"alice/set"])])
    assert sorted(one.place.path for one in dropbox.queued(conn, ["scope"], None)) == sorted(kept)


def test_what_is_told_is_the_users_own(conn: Connection) -> None:
    failed = replace(file(b"alice/a"), state=FileState.FAILED, error="why")
    dropbox.put(conn, [[failed, file(b"alice/set/b"), replace(failed, place=Place("scope", b"alice2", b"c"))]])
    assert dropbox.counts(conn, b"alice") == {("scope", b"alice"): {FileState.FAILED: 1, FileState.QUEUED: 1}}
    assert set(dropbox.counts(conn, None)) == {("scope", b"alice"), ("scope", b"alice2")}
    assert [one.place.path for one in dropbox.troubled(conn, b"alice", 9)] == [b"alice/a"]
    assert len(dropbox.troubled(conn, None, 9)) == 2 and len(dropbox.troubled(conn, None, 1)) == 1
