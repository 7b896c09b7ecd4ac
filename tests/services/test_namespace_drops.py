"""From the first create to a clock that runs: marks, writers, names that wait, directories that are one drop."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from repofs import config
from repofs.lifecycle import State
from repofs.model import Closed
from repofs.namespace.request import Change
from repofs.xattrs import ImportCommand
from tests.helpers.namespace import ALICE, World, world


def rescan(w: World) -> None:
    """Let the survey work off what it was asked to look at again."""

    async def all_asked() -> None:
        while w.drops.rescans.statistics().current_buffer_used:
            directory = w.drops.rescans.receive_nowait()
            await w.survey.scan(directory)
            directory.users -= 1
            w.table.release(directory)

    trio.run(all_asked)


# --- one file ---------------------------------------------------------------------------------------


def test_a_file_settles_when_its_last_writer_has_closed_it(w: World) -> None:
    first = w.create("scan.tif")
    second = w.open("scan.tif", os.O_WRONLY)
    w.handles.write(first, 0, b"bytes")
    w.close(first)
    assert w.state("scan.tif") is State.WRITING and not w.settles("scan.tif")
    w.close(second)
    assert w.state("scan.tif") is State.SETTLING
    assert w.clocks.running[w.node("scan.tif").ino] == (ALICE.encode(), 3.0)


def test_the_closed_mark_is_taken_away_before_the_next_first_write(w: World) -> None:
    w.write("scan.tif", b"one")
    fh = w.open("scan.tif", os.O_RDWR)
    assert isinstance(w.marks.read(os.fsencode(w.path("scan.tif"))), Closed)
    w.handles.write(fh, 0, b"two")
    assert w.marks.read(os.fsencode(w.path("scan.tif"))) is None
    assert w.state("scan.tif") is State.WRITING and not w.settles("scan.tif")
    w.close(fh)
    assert w.settles("scan.tif")


def test_an_empty_file_waits_for_content(w: World) -> None:
    w.write("scan.tif", b"")
    assert w.clocks.running[w.node("scan.tif").ino][1] == 30.0


@pytest.mark.parametrize("flags", [os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_TRUNC])
def test_truncating_at_open_is_a_write(w: World, flags: int) -> None:
    w.write("scan.tif")
    fh = w.open("scan.tif", flags)
    assert w.path("scan.tif").stat().st_size == 0
    w.close(fh)
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


def test_truncating_by_path_is_a_write_that_ends_at_once(w: World) -> None:
    w.write("scan.tif")
    w.change("scan.tif", Change(size=2))
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


def test_a_truncation_that_fails_leaves_a_drop_that_settles(w: World) -> None:
    w.write("scan.tif")
    with pytest.raises(OSError):
        w.change("scan.tif", Change(size=1 << 62))
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


def test_an_open_that_fails_to_truncate_leaves_nothing_open(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.write("scan.tif")

    def refuse(path: object, length: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "truncate", refuse)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError):
        w.open("scan.tif", os.O_WRONLY | os.O_TRUNC)
    assert len(w.handles) == 0
    assert w.state("scan.tif") is not State.WRITING


def test_a_truncation_refused_through_a_handle_does_not_hide_its_next_write(w: World) -> None:
    w.write("scan.tif")
    fh = w.open("scan.tif", os.O_WRONLY)
    with pytest.raises(OSError):
        w.handles.setattr(w.node("scan.tif"), Change(size=1 << 62), fh, w.caller)
    w.handles.write(fh, 0, b"other")
    assert w.state("scan.tif") is State.WRITING
    w.close(fh)
    assert w.settles("scan.tif")


def test_setting_times_keeps_the_mark_and_restarts_the_clock(w: World) -> None:
    w.write("scan.tif")
    w.clocks.running.clear()
    w.change("scan.tif", Change(mtime_ns=1_000_000_000))
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")
    assert w.claim("scan.tif") is not None


def test_a_handle_that_did_not_end_well_leaves_an_incomplete_file_until_it_is_written_again(w: World) -> None:
    fh = w.create("scan.tif")
    w.handles.write(fh, 0, b"half")
    w.handles._handles[fh].ended_badly = "cp was ended by SIGKILL while it wrote"
    w.close(fh)
    state, error = w.standing.state(w.node("scan.tif")) or (None, None)
    assert state is State.INCOMPLETE and error is not None and "SIGKILL" in error
    fh = w.open("scan.tif", os.O_WRONLY | os.O_TRUNC)
    w.handles.write(fh, 0, b"whole")
    w.close(fh)
    assert w.settles("scan.tif")


def test_a_full_disk_does_not_spoil_the_next_copy(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, "no space left on device")

    fh = w.create("scan.tif")
    w.handles.write(fh, 0, b"half")
    w.handles._handles[fh].ended_badly = "a write failed: no space left on device"
    with monkeypatch.context() as patched:
        patched.setattr(w.drops._failure_logs, "write", full)
        w.close(fh)
    assert w.state("scan.tif") is State.INCOMPLETE
    fh = w.open("scan.tif", os.O_WRONLY | os.O_TRUNC)
    w.handles.write(fh, 0, b"whole")
    w.close(fh)
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


# --- names ------------------------------------------------------------------------------------------


def test_a_temporary_name_waits_for_its_rename(w: World) -> None:
    w.write(".scan.tif.Xy12")
    assert w.state(".scan.tif.Xy12") is State.INCOMPLETE and not w.settles(".scan.tif.Xy12")
    w.rename(".scan.tif.Xy12", "scan.tif")
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


def test_a_drop_that_gets_a_temporary_name_stops_its_clock(w: World) -> None:
    w.write("scan.tif")
    w.rename("scan.tif", ".scan.tif")
    assert w.state(".scan.tif") is State.INCOMPLETE and not w.settles(".scan.tif")
    assert w.claim(".scan.tif") is None


def test_renaming_an_incomplete_file_is_its_owners_word(w: World) -> None:
    w.path("scan.tif").write_bytes(b"left by a crash")
    assert w.state("scan.tif") is State.INCOMPLETE
    w.rename("scan.tif", "good.tif")
    assert w.settles("good.tif")


def test_a_rename_is_done_even_where_its_mark_cannot_be_written(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.path("scan.tif").write_bytes(b"left by a crash")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(w.marks, "write", full)
        w.rename("scan.tif", "good.tif")
    assert w.state("good.tif") is State.INCOMPLETE


def test_removing_a_drop_stops_its_clock(w: World) -> None:
    ino = w.write("scan.tif").ino
    w.unlink("scan.tif")
    assert ino not in w.clocks.running
    assert w.claim_token(ino) is None


def test_a_drop_of_two_names_goes_on_when_the_name_that_the_mount_knows_is_removed(w: World) -> None:
    w.write("a.tif")
    w.link("a.tif", "b.tif")
    w.unlink("a.tif")
    assert w.settles("b.tif")
    drop = w.claim("b.tif")
    assert drop is not None and drop.path == b"b.tif"


def test_rename_over_a_drop_forgets_the_one_that_is_gone(w: World) -> None:
    old = w.write("a.tif", b"old").ino
    w.write("b.tif", b"new")
    w.rename("b.tif", "a.tif")
    assert old not in w.clocks.running and w.settles("a.tif")


def test_cancel_and_now(w: World) -> None:
    node = w.write("scan.tif")
    w.drops.command(node, ImportCommand.CANCEL, 0)
    assert w.state("scan.tif") is State.INCOMPLETE and not w.settles("scan.tif")
    w.drops.command(node, ImportCommand.NOW, 0)
    assert w.state("scan.tif") is State.SETTLING
    assert w.clocks.running[node.ino][1] == 0.0


# --- directories that are one drop, and that cease to be ---------------------------------------------


def test_a_directory_format_settles_as_a_whole(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    assert set(w.clocks.running) == {w.node("a.zarr").ino}
    drop = w.claim("a.zarr")
    assert drop is not None and drop.is_directory and drop.path == b"a.zarr"


def test_a_writer_below_holds_back_a_directory(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    fh = w.create("a.zarr/1")
    assert w.claim("a.zarr") is None
    w.handles.write(fh, 0, b"x")
    w.close(fh)
    assert w.settles("a.zarr")


def test_a_word_to_import_a_directory_now_is_spent_when_it_is_written_again(w: World) -> None:
    w.mkdir("a.zarr")
    node = w.write("a.zarr/0")
    w.drops.command(node, ImportCommand.NOW, 0)
    fh = w.open("a.zarr/0", os.O_WRONLY)
    w.handles.write(fh, 0, b"x")
    w.close(fh)
    assert w.clocks.running[w.node("a.zarr").ino][1] == 10.0


def test_files_whose_directory_becomes_one_drop_settle_with_it(w: World) -> None:
    w.mkdir("plain")
    file = w.write("plain/0")
    w.rename("plain", "plain.zarr")
    rescan(w)
    assert set(w.clocks.running) == {w.node("plain.zarr").ino}
    assert w.claim_token(file.ino) is None
    assert w.settles("plain.zarr")
    assert w.claim("plain.zarr") is not None


def test_files_whose_directory_ceases_to_be_one_drop_settle_by_themselves(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    w.rename("a.zarr", "plain")
    rescan(w)
    assert set(w.clocks.running) == {w.node("plain/0").ino}
    assert w.claim("plain/0") is not None


@pytest.mark.parametrize(("old", "new"), [("t.tiledb", "plain"), ("t.tiledb/sub", "sub"), ("t.tiledb", "t.zarr")])
def test_files_of_a_table_settle_when_it_ceases_to_be_one(w: World, old: str, new: str) -> None:
    w.mkdir("t.tiledb")
    w.mkdir("t.tiledb/sub")
    w.write(f"{old}/data")
    assert w.state(f"{old}/data") is None and not w.clocks.running
    w.rename(old, new)
    rescan(w)
    assert w.state(f"{new}/data") is State.SETTLING
    assert w.settles(new) or w.settles(f"{new}/data")


def test_a_file_moved_into_a_directory_format_settles_with_it(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("0")
    w.rename("0", "a.zarr/0")
    assert set(w.clocks.running) == {w.node("a.zarr").ino}


def test_nothing_is_remembered_of_the_files_of_a_table(w: World) -> None:
    w.mkdir("t.tiledb")
    assert w.write("t.tiledb/data").activity is None
    w.forget_all()
    assert len(w.table) == 1


def test_a_directory_drop_can_be_cancelled(w: World) -> None:
    w.mkdir("a.zarr")
    node = w.write("a.zarr/0")
    w.drops.command(node, ImportCommand.CANCEL, 0)
    assert not w.clocks.running
    assert w.state("a.zarr/0") is State.INCOMPLETE
    w.drops.command(node, ImportCommand.NOW, 0)
    assert w.state("a.zarr/0") is State.SETTLING and w.settles("a.zarr")


# --- restart ----------------------------------------------------------------------------------------


def test_a_restart_finds_what_was_closed_and_nothing_else(tmp_path: Path) -> None:
    with world(tmp_path) as before:
        before.write("closed.tif")
        before.write(".temporary")
        fh = before.create("half.tif")
        before.handles.write(fh, 0, b"half")
        before.write("done.tif")
        before.imports("done.tif")
        os.close(fh)
    with world(tmp_path) as after:
        trio.run(after.survey.scan, after.table.root)
        assert set(after.clocks.running) == {after.node("closed.tif").ino}
        assert after.state("half.tif") is State.INCOMPLETE
        assert after.state("done.tif") is State.IMPORTED
        after.forget_all()
        assert len(after.table) == 3  # what settles, and the directories above it


def test_settings_decide_what_settles(tmp_path: Path) -> None:
    settings = config.Settings(drops=config.Drops(settle_seconds=60, exclude=("*.log",)))
    with world(tmp_path, settings) as w:
        w.write("scan.tif")
        w.write("scan.LOG")
        assert [delay for _, delay in w.clocks.running.values()] == [60.0]


# --- directories of a temporary name, and names that nobody has looked up ----------------------------


def test_files_in_a_directory_of_a_temporary_name_wait_until_they_are_moved_out(w: World) -> None:
    w.mkdir(".~tmp~")
    w.write(".~tmp~/scan.tif")
    assert w.state(".~tmp~/scan.tif") is State.INCOMPLETE and not w.settles(".~tmp~/scan.tif")
    w.rename(".~tmp~/scan.tif", "scan.tif")
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")


def test_a_directory_that_loses_its_temporary_name_is_looked_at(w: World) -> None:
    w.mkdir("run.part")
    w.write("run.part/scan.tif")
    w.rename("run.part", "run")
    rescan(w)
    assert w.settles("run/scan.tif")


def test_a_drop_goes_on_under_a_name_that_nobody_has_looked_up(w: World) -> None:
    w.write("scan.tif")
    os.link(w.path("scan.tif"), w.path("other.tif"))
    w.unlink("scan.tif")
    assert not w.clocks.running
    rescan(w)
    assert w.settles("other.tif")


def test_the_dropped_name_of_an_original_is_removed_without_a_walk(w: World) -> None:
    w.write("scan.tif")
    w.imports("scan.tif")
    os.link(w.path("scan.tif"), w.path("import-directory.tif"))
    w.unlink("scan.tif")
    assert w.drops.rescans.statistics().current_buffer_used == 0
