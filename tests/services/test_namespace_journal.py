"""The journal of what goes on: what a start after a crash looks at, and what it leaves alone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from repofs.lifecycle import State
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.repository import journal_records
from tests.helpers.namespace import ALICE, World
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio


def left(w: World) -> list[tuple[str, bool]]:
    """Return where an earlier life has left something, and whether below that too."""
    top = f"{ALICE}/"
    return sorted((os.fsdecode(one.path).removeprefix(top), one.below) for one in w.journal.left)


async def start(w: World) -> set[str]:
    """Run the look at the start to its end; return the names of the drops that have a clock then."""
    w.drops.surveyed = False
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.survey.run)
            while not w.drops.surveyed:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    running = (w.table.get(token) for token in w.clocks.running)
    return {os.fsdecode(node.names[0][1]) for node in running if node is not None}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository that a daemon had and has left with nothing going on."""
    w = World(tmp_path / "repository")
    w.journal.looked_for_lost_bytes()
    w.journal.let_go(w.journal.left[0])
    w.journal.end_idle()
    return tmp_path / "repository"


async def test_without_a_journal_all_is_looked_at(tmp_path: Path) -> None:
    w = World(tmp_path / "repository")
    w.mkdir("run")
    w.write("run/a.tif")
    w.layout.journal.unlink()
    again = World(tmp_path / "repository")
    assert [(one.path, one.below) for one in again.journal.left] == [(b"", True)]
    assert await start(again) == {"a.tif"}


async def test_a_start_looks_where_something_went_on_and_nowhere_else(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    for number in range(20):
        w.mkdir(f"rest{number}")
        w.write(f"rest{number}/a.tif")
        w.imports(f"rest{number}/a.tif")
    w.mkdir("run")
    w.write("run/b.tif")
    w.journal.end_idle()
    again = World(repository)
    assert left(again) == [("run", False)]
    listed: list[int] = []
    names_in = os.listdir
    monkeypatch.setattr(os, "listdir", lambda fd: listed.append(fd) or names_in(fd))
    assert await start(again) == {"b.tif"}
    assert len(listed) == 1


def another_boot(w: World) -> None:
    """Let the journal be of an earlier life of the machine."""
    records = w.layout.journal.read_bytes()
    assert journal_records.booted(journal_records.this_boot()) in records
    w.layout.journal.write_bytes(records.replace(journal_records.this_boot(), b"another"))


@pytest.mark.parametrize("went_down", [False, True])
async def test_bytes_that_the_machine_has_lost_are_missed(repository: Path, went_down: bool) -> None:
    w = World(repository)
    await start(w)
    for name in ("whole.tif", "lost.tif"):
        w.write(name, b"pixels" * 2000)
    if went_down:
        another_boot(w)
    status = w.path("lost.tif").stat()
    os.truncate(w.path("lost.tif"), 0)
    os.truncate(w.path("lost.tif"), status.st_size)  # its size, and no bytes
    os.utime(w.path("lost.tif"), ns=(status.st_atime_ns, status.st_mtime_ns))
    again = World(repository)
    assert await start(again) == ({"whole.tif"} if went_down else {"whole.tif", "lost.tif"})
    assert again.state("lost.tif") is (State.INCOMPLETE if went_down else State.SETTLING)
    assert not World(repository).journal.machine_went_down


async def test_what_has_come_to_rest_is_not_looked_at_again(repository: Path) -> None:
    w = World(repository)
    w.write("a.tif")
    w.imports("a.tif")
    w.journal.end_idle()
    assert left(World(repository)) == []


async def test_an_end_that_was_not_recorded_costs_a_look(repository: Path) -> None:
    w = World(repository)
    w.write("a.tif")
    w.imports("a.tif")
    again = World(repository)
    assert left(again) == [(ALICE, False)]
    assert await start(again) == set()
    again.journal.end_idle()
    assert left(World(repository)) == []


async def test_a_directory_that_is_one_drop(repository: Path) -> None:
    w = World(repository)
    w.mkdir("cells.zarr")
    w.mkdir("cells.zarr/0")
    w.write("cells.zarr/0/0.0")
    w.journal.end_idle()
    again = World(repository)
    assert ("cells.zarr", True) in left(again)
    assert await start(again) == {"cells.zarr"}


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_directory_is_renamed_while_something_goes_on_in_it(
    repository: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    w.mkdir("run")
    w.mkdir("run/deep")
    w.write("run/deep/a.tif")
    w.journal.end_idle()
    if when == "before":  # the daemon is killed as soon as the kernel has renamed it
        monkeypatch.setattr(journal_records, "MOVED", b"")
    w.rename("run", "moved")
    again = World(repository)
    assert ("moved/deep", False) in left(again) and not any(where.startswith("run") for where, _ in left(again))
    assert await start(again) == {"a.tif"}


async def test_a_directory_that_is_not_renamed_after_all_is_known_by_its_name(repository: Path) -> None:
    w = World(repository)
    w.mkdir("run")
    w.mkdir("full")
    w.write("run/a.tif")
    w.write("full/b.tif")
    with pytest.raises(OSError) as refused:
        w.rename("run", "full")
    assert refused.value.errno == errno.ENOTEMPTY
    assert await start(World(repository)) == {"a.tif", "b.tif"}


async def test_a_temporary_name_is_renamed_and_the_daemon_is_killed(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    w.mkdir("in")
    w.mkdir("out")
    w.write("in/.a.tif.Xy12ab")
    node = w.node("in/.a.tif.Xy12ab")
    w.drops.end(node)  # it waits for its rename, and its log is let go
    w.journal.end_idle()
    monkeypatch.setattr(w.drops, "renamed", lambda node: None)
    w.rename("in/.a.tif.Xy12ab", "out/a.tif")
    again = World(repository)
    assert left(again) == [("out", False)]
    assert await start(again) == {"a.tif"}


async def test_a_second_name_keeps_it_known_when_the_first_goes(repository: Path) -> None:
    w = World(repository)
    w.mkdir("one")
    w.mkdir("two")
    w.write("one/a.tif")
    w.link("one/a.tif", "two/a.tif")
    w.unlink("one/a.tif")
    w.journal.end_idle()
    again = World(repository)
    assert left(again) == [("two", False)]
    assert await start(again) == {"a.tif"}


async def test_what_is_removed_is_not_looked_for(repository: Path) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    w.path("run/a.tif").unlink()
    w.path("run").rmdir()
    assert left(World(repository)) == []


async def test_a_record_that_was_not_written_to_its_end_is_none(repository: Path) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    with w.layout.journal.open("ab") as journal:
        journal.write(b"D alice_2/r")
    assert ("run", False) in left(World(repository))


async def test_a_damaged_journal_counts_as_none(repository: Path) -> None:
    layout = World(repository).layout
    layout.journal.write_bytes(b"d alice_2\0\xff\xff\xff\0")
    assert [(one.path, one.below) for one in World(repository).journal.left] == [(b"", True)]


async def test_it_is_written_anew_before_it_grows(repository: Path) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    for number in range(1200):
        w.mkdir(f"d{number}")
        w.write(f"d{number}/a.tif")
        w.imports(f"d{number}/a.tif")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(w.journal.run)
        await trio.to_thread.run_sync(until, lambda: w.layout.journal.stat().st_size < 1000, "written anew", 10)
        nursery.cancel_scope.cancel()
    w.write("run/b.tif")
    assert await start(World(repository)) == {"a.tif", "b.tif"}


async def test_killed_while_it_is_written_anew(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    monkeypatch.setattr(w.journal, "_replace", lambda fd: None)
    await w.journal._renew()
    w.mkdir("other")
    w.write("other/b.tif")
    assert await start(World(repository)) == {"a.tif", "b.tif"}


async def test_a_full_disk_is_the_answer_to_the_write(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    w = World(repository)
    w.mkdir("run")
    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if fd == w.journal._fd:
            pwrite(fd, data[:3], offset)
            raise OSError(errno.ENOSPC, "no space")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="no space"):
        w.create("run/a.tif")
    monkeypatch.undo()
    w.write("run/b.tif")
    assert ("run", False) in left(World(repository)), "what was cut is written over"


async def test_sync_waits_for_the_disk_only_when_something_is_new(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    await w.journal.sync()
    before = len(synced)
    w.write("a.tif")
    await w.journal.sync()
    await w.journal.sync()
    assert len(synced) == before + 1


async def test_directories_that_are_exchanged_are_known_by_their_names(repository: Path) -> None:
    w = World(repository)
    for name in ("one", "two"):
        w.mkdir(name)
        w.mkdir(f"{name}/{name}")
        w.write(f"{name}/{name}/{name}.tif")
    w.journal.end_idle()
    w.rename("one", "two", RENAME_EXCHANGE)
    w.journal.end_idle()
    again = World(repository)
    assert left(again) == [("one/two", False), ("two/one", False)]
    assert await start(again) == {"one.tif", "two.tif"}


async def test_renaming_a_directory_writes_little_whatever_goes_on_in_it(repository: Path) -> None:
    w = World(repository)
    w.mkdir("run")
    for number in range(300):
        w.mkdir(f"run/{number}")
        w.write(f"run/{number}/a.tif")
    w.journal.end_idle()
    before = w.layout.journal.stat().st_size
    for _ in range(5):
        w.rename("run", "moved")
        w.rename("moved", "run")
    assert w.layout.journal.stat().st_size - before < 2000
    assert len(left(World(repository))) == 301  # each, and the directory that was renamed just now


async def test_a_disk_that_is_full_after_a_rename_costs_a_look(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    pwrite = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if bytes(data) == journal_records.MOVED:
            raise OSError(errno.ENOSPC, "no space")
        return pwrite(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    w.rename("run", "moved")
    monkeypatch.undo()
    w.rename("moved", "again")
    assert ("again", False) in left(World(repository))


async def test_what_a_full_disk_has_cut_spoils_no_record_after_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    w.mkdir("run")
    w.journal.end_idle()
    pwrite, taken = os.pwrite, 0

    def nearly_full(fd: int, data: bytes, offset: int) -> int:
        nonlocal taken
        if fd != w.journal._fd:
            return pwrite(fd, data, offset)
        if taken:
            raise OSError(errno.ENOSPC, "no space")
        taken = pwrite(fd, bytes(data)[:3], offset)
        return taken

    monkeypatch.setattr(os, "pwrite", nearly_full)
    with pytest.raises(OSError, match="no space"):
        w.create("run/a.tif")
    monkeypatch.undo()
    w.write("run/b.tif")
    assert ("run", False) in left(World(repository))


async def test_a_journal_for_which_there_is_no_room_does_not_take_the_place_of_the_one_before(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = World(repository)
    w.mkdir("run")
    w.write("run/a.tif")
    before, pwrite, taken = w.journal._fd, os.pwrite, 0

    def nearly_full(fd: int, data: bytes, offset: int) -> int:
        nonlocal taken
        if fd == before:
            return pwrite(fd, data, offset)
        if taken:
            raise OSError(errno.ENOSPC, "no space")
        taken = pwrite(fd, bytes(data)[:3], offset)
        return taken

    monkeypatch.setattr(os, "pwrite", nearly_full)
    with pytest.raises(OSError, match="no space"):
        await w.journal._renew()
    monkeypatch.undo()
    w.mkdir("other")
    w.write("other/b.tif")
    assert await start(World(repository)) == {"a.tif", "b.tif"}
