"""What was deleted is in the trash of a rebuilt catalogue, and comes back from there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from repofs.administration.keeping import KeptPeople
from repofs.catalog import ids, trash
from repofs.config import Settings
from repofs.inspection.rebuild import Rebuilt, rebuild
from repofs.repository.durable import write_whole
from repofs.trash import Whereabouts
from tests.helpers.command_line import repofs
from tests.helpers.deleting import SCAN, WAYS, ZARR, Trash, die_in
from tests.helpers.importing import Repository


@pytest.fixture
def t(tmp_path: Path) -> Trash:
    t = Trash(Repository.make(tmp_path / "repository"))
    with t.repository.engine.begin() as conn:
        KeptPeople(t.repository.layout).keep(conn)
    return t


def lose_the_catalogue(t: Trash) -> None:
    t.repository.engine.dispose()
    for end in ("", "-wal", "-shm"):
        Path(f"{t.repository.layout.catalogue}{end}").unlink(missing_ok=True)


def rebuilt(t: Trash) -> Rebuilt:
    lose_the_catalogue(t)
    return rebuild(t.repository.layout, Settings(), lambda _: None)


def rows(t: Trash) -> dict[str, list[Any]]:
    with t.repository.engine.begin() as conn:
        tables = {name: f"SELECT * FROM {name}" for name in ("filesets", "original_files", "fileset_entries", "trash")}
        tables["imports"] = "SELECT id, state, path, inode, size, started, ended FROM imports"
        return {name: sorted(map(tuple, conn.exec_driver_sql(query))) for name, query in tables.items()}


def following(t: Trash) -> dict[str, int]:
    with t.repository.engine.begin() as conn:
        return {kind: number for kind, number in ids.following(conn).items() if kind != "Ending"}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_deleted_is_in_the_trash_again_and_comes_back(t: Trash, way: str) -> None:
    paths, as_one = WAYS[way]
    t.imported(b"P/D/other.tif", content=b"others")
    fileset = t.imported(*paths, as_one=as_one)
    whole = t.tree()
    t.delete(fileset)
    before, numbers = rows(t), following(t)
    told = rebuilt(t)
    assert (told.filesets, told.trashed, [one.path for one in told.lacks]) == (1, 1, [b""])
    t.disposal.recover()
    assert rows(t) == before
    assert following(t) == numbers
    assert t.restore(fileset).told == ()
    assert t.tree() == whole
    assert t.imported(b"P/new.tif", content=b"new") == fileset + 1


def test_an_id_in_the_trash_is_not_given_again_though_the_counters_are_lost_too(t: Trash) -> None:
    fileset = t.imported(*ZARR, as_one=b"P/a.zarr")
    t.delete(fileset)
    t.repository.layout.counters.unlink(missing_ok=True)
    rebuilt(t)
    assert following(t)["Fileset"] == fileset + 1 and following(t)["OriginalFile"] == 4


@pytest.mark.parametrize("act", ["delete", "restore"])
def test_a_death_at_each_step_and_the_catalogue_lost_leave_it_in_the_tree_or_in_the_trash(
    t: Trash, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fileset = t.imported(*ZARR, as_one=b"P/a.zarr")
    whole, originals = t.tree(), t.repository.originals()
    if act == "restore":
        t.delete(fileset)
    number = 0
    outcomes = set()
    while die_in(lambda: getattr(t, act)(fileset), number, monkeypatch):
        told = rebuilt(t)
        assert [one.path for one in told.lacks] == [b""], number
        t.disposal.recover()
        back = t.repository.originals() == originals
        outcomes.add(back)
        if back:
            assert t.tree() == whole and os.listdir(t.repository.layout.trash) == []
        else:
            assert not any(inode for inode, _ in t.tree().values()) and t.has_thrown(fileset)
        if back is (act == "restore"):
            getattr(t, "delete" if back else "restore")(fileset)
        number += 1
    assert outcomes == {False, True} and number > 5


def test_what_was_to_be_removed_for_good_is_told_and_left(t: Trash, monkeypatch: pytest.MonkeyPatch) -> None:
    fileset = t.imported(SCAN)
    t.delete(fileset)
    files = t.repository.layout.trash / str(fileset) / "files"
    assert die_in(lambda: t.empty(fileset), 3, monkeypatch) and files.is_dir()
    told = rebuilt(t)
    assert told.trashed == 0
    assert [one.path for one in told.lacks if one.path] == [b".trash/%d" % fileset] and files.is_dir()


def test_a_note_of_another_fileset_counts_nothing(t: Trash) -> None:
    first, second = t.imported(SCAN), t.imported(b"P/other.tif", content=b"others")
    t.delete(first)
    t.delete(second)
    place = t.repository.layout.trash
    write_whole(place / str(second) / "note", (place / str(first) / "note").read_bytes())
    told = rebuilt(t)
    assert told.trashed == 1
    assert [one.path for one in told.lacks if one.path] == [b".trash/%d" % second]


def test_of_an_older_catalogue_nothing_is_taken_that_the_trash_has_not(t: Trash) -> None:
    first, second = t.imported(SCAN), t.imported(b"P/other.tif", content=b"others")
    t.delete(first)
    t.delete(second)
    t.repository.engine.dispose()
    yesterday = t.repository.layout.catalogue.read_bytes()
    t.empty(first)
    lose_the_catalogue(t)
    t.repository.layout.catalogue.write_bytes(yesterday)
    (t.repository.layout.trash / str(second) / "note").unlink()  # which the older catalogue makes up for
    rebuild(t.repository.layout, Settings(), lambda _: None)
    with t.repository.engine.begin() as conn:
        assert [one.fileset for one in trash.every(conn)] == [second]


def test_the_command_leaves_nothing_half_in_the_trash(t: Trash) -> None:
    fileset = t.imported(SCAN)
    t.delete(fileset)
    lose_the_catalogue(t)
    answer = repofs("-C", t.repository.layout.root, "fsck", "--rebuild-catalogue", "--json")
    assert json.loads(answer.out.splitlines()[-1])["trashed"] == 1
    assert t.get(fileset).step is Whereabouts.KEPT
    assert repofs("-C", t.repository.layout.root, "fsck").code == 0
