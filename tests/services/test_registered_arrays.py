"""An array in the mount that is registered is nobody's to change; one that is not is like any directory."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace

import pytest
import trio
import trio.testing

from repofs.errors import Busy, InvalidName, NotFound, NotPermitted, RepofsError
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.namespace.request import Change
from repofs.table import Place, Table, TableState
from tests.helpers.namespace import ALICE, World
from tests.helpers.tables import table


def place(path: str) -> Place:
    return Place("mount", "", os.fsencode(f"{ALICE}/{path}"))


@pytest.fixture
def w(w: World) -> World:
    """With an array in a directory, which is registered, and one beside it that is not."""
    w.mkdir("day")
    for name in ("a.tiledb", "b.tiledb"):
        w.mkdir(f"day/{name}")
        w.mkdir(f"day/{name}/__meta")
        w.write(f"day/{name}/__meta/one")
    w.registry.put(table(9, place("day/a.tiledb")))
    return w


CHANGES: dict[str, Callable[[World, str], object]] = {
    "create": lambda w, array: w.create(f"{array}/__meta/new"),
    "mkdir": lambda w, array: w.mkdir(f"{array}/__commits"),
    "symlink": lambda w, array: w.tree.symlink(*w.place(f"{array}/link"), b"target", w.caller),
    "unlink": lambda w, array: w.unlink(f"{array}/__meta/one"),
    "rename in": lambda w, array: w.rename(f"{array}/__meta/one", f"{array}/__meta/two"),
    "rename out": lambda w, array: w.rename(f"{array}/__meta/one", "day/one"),
    "rename into": lambda w, array: w.rename("day/free", f"{array}/free"),
    "link out": lambda w, array: w.link(f"{array}/__meta/one", "day/linked"),
    "open to write": lambda w, array: w.open(f"{array}/__meta/one", os.O_WRONLY),
    "truncate": lambda w, array: w.change(f"{array}/__meta/one", Change(size=0)),
    "rmdir in": lambda w, array: w.tree.rmdir(*w.place(f"{array}/__meta"), w.caller),
    "rmdir": lambda w, array: w.tree.rmdir(*w.place(array), w.caller),
    "rename": lambda w, array: w.rename(array, "day/moved.tiledb"),
    "exchange": lambda w, array: w.rename("day/other", array, RENAME_EXCHANGE),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_registered_array_is_not_changed(w: World, change: Callable[[World, str], object]) -> None:
    w.write("day/free")
    w.mkdir("day/other")
    with pytest.raises(NotPermitted, match=r"unregister that first, by user\.repofs\.table\.unregister"):
        change(w, "day/a.tiledb")
    assert w.path("day/a.tiledb/__meta/one").read_bytes() == b"bytes"
    assert os.listdir(w.path("day/a.tiledb")) == ["__meta"]


@pytest.mark.parametrize("change", [CHANGES[name] for name in CHANGES if name != "rmdir in" and name != "rmdir"])
def test_one_that_is_not_registered_is(w: World, change: Callable[[World, str], object]) -> None:
    w.write("day/free")
    w.mkdir("day/other")
    change(w, "day/b.tiledb")


def test_reading_times_and_modes_stay_its_owners(w: World) -> None:
    fh = w.open("day/a.tiledb/__meta/one")
    w.close(fh)
    w.change("day/a.tiledb/__meta/one", Change(mode=0o600, mtime_ns=10**9))
    assert w.path("day/a.tiledb/__meta/one").stat().st_mtime_ns == 10**9


def test_a_file_that_was_linked_out_before_is_not_written_by_its_other_name(w: World) -> None:
    w.link("day/b.tiledb/__meta/one", "day/linked")
    w.registry.put(table(10, place("day/b.tiledb")))
    with pytest.raises(NotPermitted):
        w.open("day/linked", os.O_WRONLY)


def test_who_has_a_file_open_writes_no_more(w: World) -> None:
    fh = w.open("day/b.tiledb/__meta/one", os.O_WRONLY)
    beside = w.create("day/beside")
    w.handles.write(fh, 0, b"more!")
    found = table(10, place("day/b.tiledb"))
    w.registry.put(found)
    with pytest.raises(NotPermitted):
        w.handles.write(fh, 0, b"never")
    w.handles.write(beside, 0, b"any time")
    w.registry.put(replace(found, state=TableState.CHANGED))
    with pytest.raises(NotPermitted):
        w.handles.write(fh, 0, b"never")
    w.registry.remove(10)
    w.handles.write(fh, 0, b"again")
    assert w.path("day/b.tiledb/__meta/one").read_bytes() == b"again"
    w.close(fh)
    w.close(beside)


def test_a_number_of_a_file_that_a_process_of_ours_has_removed_is_anothers(w: World) -> None:
    """A new token throws away files of the array, behind the mount's back."""
    before = w.node("day/a.tiledb/__meta/one")
    w.path("day/a.tiledb/__meta/one").rename(w.path("day/new"))  # the same number under a name that is not known
    after = w.node("day/new")
    assert after.ino == before.ino and after.generation != before.generation
    assert before.removed
    assert w.standing.state(after) is not None
    w.close(w.open("day/new", os.O_WRONLY))
    with pytest.raises(FileNotFoundError):
        w.node("day/a.tiledb/__meta/one")


def test_it_is_free_once_it_is_unregistered(w: World) -> None:
    w.registry.remove(9)
    w.unlink("day/a.tiledb/__meta/one")
    w.rename("day/a.tiledb", "day/c.tiledb")


def test_a_directory_above_is_renamed_and_takes_it_along(w: World) -> None:
    w.mkdir("other")
    w.rename("day", "other/night")
    moved = w.registry.at(place("other/night/a.tiledb"))
    assert moved is not None and moved.id == 9
    assert w.registry.at(place("day/a.tiledb")) is None
    with pytest.raises(NotPermitted):
        w.unlink("other/night/a.tiledb/__meta/one")
    w.rename("other", "day")
    assert [one.place.path for one in w.registry.all()] == [b"alice_2/day/night/a.tiledb"]


@pytest.mark.trio
async def test_the_catalogue_is_told_where_it_is_now(
    w: World, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    told: list[Table] = []
    refusals: list[RepofsError] = [Busy("the importer has just been restarted"), NotFound("there is no such table")]

    async def tell(table: Table) -> None:
        if refusals:
            raise refusals.pop(0)
        told.append(table)

    nursery.start_soon(w.registered.run, tell)
    w.rename("day", "night")  # first not now, then not any more
    await trio.sleep(60)
    w.rename("night", "evening")
    await trio.sleep(1)
    assert [one.place for one in told] == [place("evening/a.tiledb")]


def test_two_that_change_places_are_both_found(w: World) -> None:
    w.mkdir("night")
    w.rename("day/b.tiledb", "night/a.tiledb")
    w.registry.put(table(10, place("night/a.tiledb")))
    w.rename("day", "night", RENAME_EXCHANGE)
    assert {one.id: one.place for one in w.registry.all()} == {
        9: place("night/a.tiledb"),
        10: place("day/a.tiledb"),
    }
    for array, number in (("night/a.tiledb", 9), ("day/a.tiledb", 10)):
        found = w.registry.at(place(array))
        assert found is not None and found.id == number
        with pytest.raises(NotPermitted):
            w.unlink(f"{array}/__meta/one")


def test_a_directory_of_a_name_that_begins_alike_is_another(w: World) -> None:
    w.mkdir("day/a.tiledb.old")
    w.rename("day/a.tiledb.old", "day/a.tiled")
    w.rename("day/a.tiled", "day/a")
    assert [one.place for one in w.registry.all()] == [place("day/a.tiledb")]


@pytest.mark.parametrize("name", ["Tables", "Tables (registered)"])
def test_the_names_where_tables_are_shown_are_nobodys(w: World, name: str) -> None:
    for make in (
        lambda: w.mkdir(name),
        lambda: w.create(name),
        lambda: w.rename("day", name),
        lambda: w.tree.symlink(*w.place(name), b"day", w.caller),
        lambda: w.link("day/b.tiledb/__meta/one", name),
        lambda: w.tree.rmdir(w.node(""), name.encode(), w.caller),
        lambda: w.tree.rename(w.node(""), name.encode(), w.node("day"), b"other", 0, w.caller),
    ):
        with pytest.raises(InvalidName) as refused:
            make()
        assert refused.value.errno == errno.EINVAL
    w.mkdir(f"day/{name}")  # deeper it is a name like any other


def test_a_directory_tables_of_old_is_its_users(w: World) -> None:
    w.path("Tables").mkdir()
    w.write("Tables/mine")
    w.rename("Tables", "Results")
    assert w.path("Results/mine").read_bytes() == b"bytes"
