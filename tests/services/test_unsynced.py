"""fsync through the mount waits for the file, its names and the changed directories above them, for nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from repofs.lifecycle import State
from repofs.namespace import unsynced
from repofs.namespace.request import Change
from tests.helpers.namespace import World, open_descriptors, world
from tests.helpers.waiting import until


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        made.backing.unsynced.synced(1)  # what an earlier daemon has left is on the disk
        yield made


class Disk:
    """What was synced, by path below alice's directory; "*" is the whole file system."""

    def __init__(self, w: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.error: int | None = None
        self._top = os.path.realpath(w.path(""))
        for name, real in (("fsync", os.fsync), ("fdatasync", os.fdatasync)):
            monkeypatch.setattr(os, name, lambda fd, real=real: self._heard(real, fd))
        monkeypatch.setattr("repofs.disk.Disk.sync", lambda _: self.synced.append("*"))

    def _heard(self, real: object, fd: int) -> None:
        path = os.path.relpath(os.readlink(f"/proc/self/fd/{fd}"), self._top)
        if not path.startswith(".."):  # the journal
            if self.error is not None:
                raise OSError(self.error, os.strerror(self.error))
            self.synced.append(path)
        assert callable(real)
        real(fd)

    def taken(self) -> list[str]:
        synced, self.synced = self.synced, []
        return synced


@pytest.fixture
def disk(w: World, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(w, monkeypatch)


def test_the_file_and_the_new_directories_above_it_once(w: World, disk: Disk) -> None:
    w.mkdir("a")
    w.mkdir("a/b")
    fh = w.create("a/b/scan.tif")
    w.handles.write(fh, 0, b"bytes")
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["a/b/scan.tif", "a/b", "a", "."]
    w.handles.write(fh, 5, b"more")
    trio.run(w.handles.fsync, fh, True)
    assert disk.taken() == ["a/b/scan.tif"]
    w.close(fh)


def test_every_name_of_the_file_counts_and_no_other_directory(w: World, disk: Disk) -> None:
    for name in ("a", "b", "c"):
        w.mkdir(name)
    w.write("a/scan.tif")
    w.write("c/other.tif")
    w.link("a/scan.tif", "b/again.tif")
    fh = w.open("a/scan.tif")
    trio.run(w.handles.fsync, fh, False)
    assert sorted(disk.taken()) == [".", "a", "a/scan.tif", "b"]
    w.close(fh)


def test_a_name_that_nobody_has_looked_up_costs_one_sync_of_all(w: World, disk: Disk) -> None:
    w.mkdir("a")
    w.write("a/scan.tif")
    w.link("a/scan.tif", "elsewhere.tif")
    w.mkdir("b")
    node = w.node("a/scan.tif")
    w.table.lose_name(w.node(""), b"elsewhere.tif")
    fh = w.handles.open(node, os.O_RDONLY, w.caller)
    trio.run(w.handles.fsync, fh, False)
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["a/scan.tif", "*", "a/scan.tif"]
    w.close(fh)


@pytest.mark.parametrize("change", ["rename", "unlink", "chmod", "attribute"])
def test_what_changes_a_directory_is_waited_for(w: World, disk: Disk, change: str) -> None:
    w.mkdir("a")
    w.write("a/one.tif")
    w.write("a/two.tif")
    w.backing.unsynced.synced(1 << 62)
    match change:
        case "rename":
            w.rename("a/one.tif", "a/1.tif")
        case "unlink":
            w.unlink("a/one.tif")
        case "chmod":
            w.change("a", Change(mode=0o700))
        case "attribute":
            w.backing.set_attribute(w.node("a"), b"user.note", b"x")
    fh = w.open("a/two.tif")
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["a/two.tif", "a"]
    w.close(fh)


def test_fsync_of_a_directory_after_a_rename_into_it(w: World, disk: Disk) -> None:
    w.mkdir("a")
    w.mkdir("a/b")
    w.write("scan.part")
    w.rename("scan.part", "a/b/scan.tif")
    fh = w.directories.open(w.node("a/b"), w.caller)
    trio.run(w.directories.fsync, fh)
    assert disk.taken() == ["a/b", "a", "."]
    trio.run(w.directories.fsync, fh)
    assert disk.taken() == ["a/b"]
    w.directories.close(fh)


def test_what_changes_while_the_disk_works_is_waited_for_the_next_time(
    w: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    w.mkdir("a")
    fh = w.create("a/scan.tif")
    working, go_on, fsync = threading.Event(), threading.Event(), os.fsync

    def slow(fd: int) -> None:
        working.set()
        assert go_on.wait(10)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)

    async def write_meanwhile() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.handles.fsync, fh, False)
            await trio.to_thread.run_sync(working.wait, 10)
            w.write("a/other.tif")
            go_on.set()

    trio.run(write_meanwhile)
    monkeypatch.setattr(os, "fsync", fsync)
    disk.taken()
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["a/scan.tif", "a"]
    w.close(fh)


def test_the_first_fsync_makes_durable_what_an_earlier_daemon_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path) as w:
        disk = Disk(w, monkeypatch)
        fh = w.create("scan.tif")
        trio.run(w.handles.fsync, fh, False)
        assert disk.taken() == ["scan.tif", "*"]
        w.write("other.tif")
        trio.run(w.handles.fsync, fh, False)
        assert disk.taken() == ["scan.tif", "."]
        w.close(fh)


def test_no_more_is_remembered_than_a_bound(w: World, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsynced, "_MOST", 4)
    for number in range(10):
        w.mkdir(f"d{number}")
    fh = w.create("d3/scan.tif")
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["d3/scan.tif", "*"]
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["d3/scan.tif"]
    w.close(fh)


def test_a_removed_directory_is_forgotten(w: World) -> None:
    w.mkdir("a")
    w.tree.rmdir(*w.place("a"), w.caller)
    w.backing.unsynced.synced(1 << 62)
    w.forget_all()
    assert len(w.table) == 1


def test_an_error_of_the_disk_is_the_callers_and_leaves_the_file_incomplete(w: World, disk: Disk) -> None:
    fh = w.create("scan.tif")
    w.handles.write(fh, 0, b"bytes")
    disk.error = errno.EIO
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        trio.run(w.handles.fsync, fh, False)
    w.close(fh)
    assert w.state("scan.tif") is State.INCOMPLETE
    disk.error = None
    fh = w.open("scan.tif")
    trio.run(w.handles.fsync, fh, False)
    assert disk.taken() == ["scan.tif", "."]  # its name is waited for again
    w.close(fh)


def test_who_is_cancelled_leaves_no_descriptor(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fh = w.create("scan.tif")
    before = open_descriptors()
    go_on = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda fd: go_on.wait(10))
    monkeypatch.setattr(w.backing.unsynced, "_waiting", trio.CapacityLimiter(1))

    async def give_up() -> None:
        with trio.move_on_after(0.1) as scope:  # one works, the other waits for its turn
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(w.handles.fsync, fh, False)
        assert scope.cancelled_caught

    trio.run(give_up)
    go_on.set()
    until(lambda: open_descriptors() <= before, "the descriptors being closed")
    w.close(fh)
