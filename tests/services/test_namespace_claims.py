"""Between claim and outcome: nobody changes the bytes, and what the importer has written holds afterwards."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import pytest

from repofs.errors import Busy, NotPermitted
from repofs.lifecycle import State
from repofs.model import Original, Outcome, Refused
from repofs.namespace import drops
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.namespace.nodes import UNKNOWN
from repofs.namespace.request import Change
from repofs.xattrs import ImportCommand
from tests.helpers.namespace import World


def writers(w: World, path: str) -> list[Callable[[], object]]:
    return [
        lambda: w.open(path, os.O_WRONLY),
        lambda: w.open(path, os.O_RDWR),
        lambda: w.open(path, os.O_RDONLY | os.O_TRUNC),
        lambda: w.change(path, Change(size=0)),
        lambda: w.change(path, Change(size=100)),
    ]


def refused(w: World, path: str) -> bool:
    """Whether every way to change the bytes of *path* is refused, and none has changed them."""
    before = w.path(path).read_bytes()
    for attempt in writers(w, path):
        with pytest.raises(NotPermitted):
            attempt()
    return w.path(path).read_bytes() == before


def test_a_claimed_drop_is_sealed_until_its_outcome(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None and w.state("scan.tif") is State.IMPORTING
    assert refused(w, "scan.tif")
    w.original("scan.tif")
    w.imported(drop)
    assert w.state("scan.tif") is State.IMPORTED
    assert refused(w, "scan.tif")
    assert w.node("scan.tif").ino in w.kernel.told


def test_nothing_is_called_imported_before_its_outcome(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.original("scan.tif")
    w.node("scan.tif").mark = UNKNOWN  # as the kernel forgets a node and looks it up again
    assert w.state("scan.tif") is State.IMPORTING
    w.imported(drop)
    assert w.state("scan.tif") is State.IMPORTED


def test_a_failed_drop_is_its_owners_again(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    status = w.path("scan.tif").stat()
    w.marks.write(
        os.fsencode(w.path("scan.tif")), Refused(status.st_size, status.st_mtime_ns, State.FAILED, "broken", "log")
    )
    w.claims.outcome(Outcome(drop.token, State.FAILED, "broken"))
    assert w.state("scan.tif") is State.FAILED and not w.clocks.running
    w.close(w.open("scan.tif", os.O_WRONLY | os.O_TRUNC))
    assert w.settles("scan.tif")


def test_an_original_stays_one_by_every_name(w: World) -> None:
    w.mkdir("kept")
    w.write("scan.tif")
    w.link("scan.tif", "kept/also.tif")
    w.imports("scan.tif")
    w.rename("scan.tif", "moved.tif")
    for path in ("moved.tif", "kept/also.tif"):
        assert refused(w, path)
    w.rename("moved.tif", "kept/also.tif")
    assert w.state("kept/also.tif") is State.IMPORTED
    w.change("kept/also.tif", Change(mode=0o600, mtime_ns=1))
    assert stat.S_IMODE(w.path("kept/also.tif").stat().st_mode) == 0o600
    assert w.state("kept/also.tif") is State.IMPORTED and not w.clocks.running


@pytest.mark.parametrize(("old", "new"), [
    ("scan.tif", "a.zarr/scan.tif"),
    ("scan.tif", "t.tiledb/scan.tif"),
    ("proj", "proj.zarr"),
    ("proj", "proj.tiledb"),
    ("proj", "a.zarr/proj"),
])  # fmt: skip
def test_moving_a_sealed_file_does_not_unseal_it(w: World, old: str, new: str) -> None:
    for directory in ("a.zarr", "t.tiledb", "proj"):
        w.mkdir(directory)
    below = "/scan.tif" if old == "proj" else ""
    w.write(old + below)
    drop = w.claim(old + below)
    assert drop is not None
    w.rename(old, new)
    assert refused(w, new + below)
    w.original(new + below)
    w.imported(drop)
    assert refused(w, new + below)


@pytest.mark.parametrize("new", ["plain", "b.zarr/a.zarr", "t.tiledb", "proj/a.zarr"])
def test_moving_a_sealed_directory_does_not_unseal_its_files(w: World, new: str) -> None:
    for directory in ("a.zarr", "b.zarr", "proj"):
        w.mkdir(directory)
    w.write("a.zarr/0")
    drop = w.claim("a.zarr")
    assert drop is not None
    w.rename("a.zarr", new)
    assert refused(w, f"{new}/0")
    w.original(f"{new}/0")
    w.imported(drop)
    assert refused(w, f"{new}/0")


def test_a_hard_link_from_outside_into_an_imported_directory_is_an_original_too(w: World) -> None:
    w.write("outside")
    w.mkdir("a.zarr")
    w.link("outside", "a.zarr/0")
    w.write("a.zarr/1")
    drop = w.claim("a.zarr")
    assert drop is not None
    w.original("a.zarr/0")
    w.original("a.zarr/1")
    w.imported(drop)
    assert refused(w, "outside")


def test_names_in_a_sealed_directory_do_not_change(w: World) -> None:
    w.mkdir("a.zarr")
    w.mkdir("a.zarr/0")
    w.write("a.zarr/0/0")
    w.write("other")
    drop = w.claim("a.zarr")
    assert drop is not None
    for attempt in (
        lambda: w.create("a.zarr/new"),
        lambda: w.mkdir("a.zarr/0/new"),
        lambda: w.unlink("a.zarr/0/0"),
        lambda: w.rename("a.zarr/0", "taken"),
        lambda: w.rename("other", "a.zarr/other"),
        lambda: w.rename("other", "a.zarr/0/0", RENAME_EXCHANGE),
        lambda: w.link("other", "a.zarr/0/other"),
    ):
        with pytest.raises(Busy):
            attempt()
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    w.unlink("a.zarr/0/0")


def test_times_set_during_the_import_do_not_overwrite_what_the_importer_wrote(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.original("scan.tif")
    w.change("scan.tif", Change(mtime_ns=1_000_000_000))
    w.rename("scan.tif", "renamed.tif")
    w.imported(drop)
    assert w.path("renamed.tif").stat().st_mtime_ns == 1_000_000_000
    assert w.state("renamed.tif") is State.IMPORTED
    assert refused(w, "renamed.tif")


@pytest.mark.parametrize("paths", [("scan.tif", "scan.tif"), ("a.zarr", "a.zarr/0")])
def test_times_set_during_an_import_that_is_to_be_tried_again_do_not_make_it_incomplete(
    w: World, paths: tuple[str, str]
) -> None:
    dropped, file = paths
    w.mkdir("a.zarr")
    w.write(file)
    drop = w.claim(dropped)
    assert drop is not None
    w.change(file, Change(mtime_ns=1_000_000_000))
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    assert w.state(file) is State.SETTLING
    w.clocks.dropped(drop.token, b"", 3)  # the inbox does so by itself
    assert w.claim(dropped) is not None


def test_a_drop_moved_into_a_directory_format_during_its_import_is_not_imported_twice_at_a_time(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.rename("scan.tif", "a.zarr/scan.tif")
    w.write("a.zarr/other")
    assert w.claim("a.zarr") is None
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    w.clocks.running[drop.token] = (b"", 3)
    assert w.claim_token(drop.token) is None
    assert w.settles("a.zarr")
    assert w.claim("a.zarr") is not None


def test_a_drop_given_a_temporary_name_during_its_import_waits_if_it_is_tried_again(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.rename("scan.tif", ".scan.tif")
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    w.clocks.running[drop.token] = (b"", 3)
    assert w.claim_token(drop.token) is None
    assert w.state(".scan.tif") is State.INCOMPLETE


def test_a_drop_removed_during_its_import(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.unlink("scan.tif")
    w.claims.outcome(Outcome(drop.token, State.FAILED, "gone"))
    w.forget_all()
    assert len(w.table) == 1
    assert w.claim_token(drop.token) is None


def test_an_empty_directory_removed_during_its_import_leaves_no_seal(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    w.unlink("a.zarr/0")
    drop = w.claim("a.zarr")
    assert drop is not None
    w.tree.rmdir(*w.place("a.zarr"), w.caller)
    w.claims.outcome(Outcome(drop.token, State.FAILED, "nothing in it"))
    assert not w.standing.sealed


def test_what_recovery_has_decided_after_a_crash_of_the_importer_is_seen(w: World) -> None:
    """The process died after it had marked the file; the mount looked; recovery then took the mark back."""
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    closed = w.standing.mark(w.node("scan.tif"))
    assert closed is not None
    w.original("scan.tif")
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    assert isinstance(w.standing.mark(w.node("scan.tif")), Original)
    w.marks.write(os.fsencode(w.path("scan.tif")), closed)
    assert w.claim("scan.tif") is not None


def test_an_outcome_whose_import_directory_is_gone_by_now(w: World) -> None:
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.original("scan.tif")
    w.claims.outcome(Outcome(drop.token, State.IMPORTED, None, 17, b"2026-11/22/21-15-03.123"))
    assert w.state("scan.tif") is State.IMPORTED


def test_an_import_log_cannot_be_taken_out_of_its_directory(w: World) -> None:
    w.path("2026-11/22").mkdir(parents=True)
    w.path("2026-11/22/21-15-03.123.log").write_text("closed")
    with pytest.raises(NotPermitted):
        w.link("2026-11/22/21-15-03.123.log", "mine.log")


def test_the_window_of_an_import_is_told_to_the_kernel(w: World) -> None:
    w.path("2026-11/22/21-15-03.123").mkdir(parents=True)
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    drop = w.claim("a.zarr")
    assert drop is not None
    w.claims.outcome(Outcome(drop.token, State.IMPORTED, None, 17, b"2026-11/22/21-15-03.123"))
    assert {w.node(path).ino for path in ("a.zarr/0", "", "2026-11", "2026-11/22")} <= w.kernel.told


def test_a_word_to_import_a_temporary_name_holds_when_its_import_is_tried_again(w: World) -> None:
    node = w.write(".scan.tif")
    w.drops.command(node, ImportCommand.NOW, 0)
    drop = w.claim(".scan.tif")
    assert drop is not None
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    assert w.claim(".scan.tif") is not None


def test_an_outcome_is_taken_in_even_if_a_mark_cannot_be_renewed(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    w.write("a.zarr/1")
    drop = w.claim("a.zarr")
    assert drop is not None
    w.change("a.zarr/0", Change(mtime_ns=1))
    w.path("a.zarr/1").unlink()  # behind the mount's back
    w.claims.outcome(Outcome(drop.token, State.SETTLING))
    assert w.state("a.zarr/0") is State.SETTLING


def test_where_an_import_went_is_told_also_when_the_kernel_has_forgotten_its_drop(w: World) -> None:
    w.path("2026-11/22/21-15-03.123").mkdir(parents=True)
    w.write("scan.tif")
    drop = w.claim("scan.tif")
    assert drop is not None
    w.forget_all()
    w.claims.outcome(Outcome(drop.token, State.IMPORTED, None, 17, b"2026-11/22/21-15-03.123"))
    assert w.path("2026-11/22").stat().st_ino in w.kernel.told
    w.journal.end_idle()
    assert len(w.table) == 1


# --- written in order -------------------------------------------------------------------------------


def in_order(w: World, path: str) -> bool:
    drop = w.claim(path)
    assert drop is not None and set(drop.in_order) <= {w.node(path).ino}
    return bool(drop.in_order)


def write_parts(w: World, fh: int, *offsets: int) -> None:
    for offset in offsets:
        w.handles.write(fh, offset, b"1000bytes!" * 100)


@pytest.mark.parametrize(
    ("offsets", "expected"),
    [
        ((0, 1000, 2000), True),
        ((0,), True),
        ((0, 1000, 0), False),
        ((0, 1000, 1500), False),
        ((0, 2000), False),
        ((1000, 0), False),
        ((0, 1000, 500, 1500), False),
    ],
)
def test_the_importer_is_told_what_was_written_from_beginning_to_end(
    w: World, offsets: tuple[int, ...], expected: bool
) -> None:
    fh = w.create("scan.tif")
    write_parts(w, fh, *offsets)
    w.close(fh)
    assert in_order(w, "scan.tif") is expected


def test_who_goes_on_at_the_end_goes_on_in_order(w: World) -> None:
    fh = w.create("scan.tif")
    write_parts(w, fh, 0)
    w.close(fh)
    fh = w.open("scan.tif", os.O_WRONLY)
    write_parts(w, fh, 1000)
    w.close(fh)
    assert in_order(w, "scan.tif")


@pytest.mark.parametrize("size", [0, 500, 1000, 3000])
@pytest.mark.parametrize("by_handle", [False, True])
def test_what_was_cut_or_extended_is_not_in_order(w: World, size: int, by_handle: bool) -> None:
    """An extended file has holes; when they are filled it looks as if it had been written in order."""
    fh = w.create("scan.tif")
    write_parts(w, fh, 0)
    w.handles.setattr(w.node("scan.tif"), Change(size=size), fh if by_handle else None, w.caller)
    write_parts(w, fh, *range(1000, 3000, 1000))
    w.close(fh)
    assert not in_order(w, "scan.tif")


def test_what_was_begun_anew_is_not_in_order(w: World) -> None:
    w.write("scan.tif", b"one" * 1000)
    fh = w.open("scan.tif", os.O_WRONLY | os.O_TRUNC)
    write_parts(w, fh, 0)
    w.close(fh)
    assert not in_order(w, "scan.tif")


def test_a_file_that_was_there_at_the_start_is_not_in_order(w: World) -> None:
    """Nobody knows how it was written."""
    w.path("scan.tif").write_bytes(b"one" * 1000)
    fh = w.open("scan.tif", os.O_WRONLY)
    write_parts(w, fh, 3000)
    w.close(fh)
    assert not in_order(w, "scan.tif")


def test_a_long_file_is_told_of_once(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "LONG_BYTES", 2500)
    fh = w.create("scan.tif")
    write_parts(w, fh, 0, 1000)
    assert w.clocks.growing == []
    write_parts(w, fh, 2000, 3000, 4000)
    assert w.clocks.growing == [w.node("scan.tif").ino]
    w.close(fh)
    other = w.create("other.tif")
    write_parts(w, other, 1000, 0, 2000, 3000)
    assert w.clocks.growing == [w.node("scan.tif").ino]
    w.close(other)


def test_a_long_file_without_a_name_goes_on(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drops, "LONG_BYTES", 2500)
    fh = w.create("scan.tif")
    w.unlink("scan.tif")
    write_parts(w, fh, 0, 1000, 2000)
    assert w.clocks.growing == []
    w.close(fh)
