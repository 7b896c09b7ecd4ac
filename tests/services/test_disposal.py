"""Deleting, restoring and emptying, in catalogue and tree, and a death at every system call of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from repofs import config
from repofs.catalog import trash
from repofs.errors import Busy, NotFound
from repofs.importer.disposal import Disposal
from repofs.lifecycle import State
from repofs.model import ImportId
from repofs.repository.trash_can import TrashCan
from repofs.trash import Whereabouts
from tests.helpers.deleting import SCAN, WAYS, ZARR, Trash, die_in
from tests.helpers.importing import Repository
from tests.helpers.standing_in import stand_in

NAME_255 = "é" * 125 + "e.tif"
AFTER_THE_NOTE = 4  # changes: the rows, and a directory, an older note and a new one in the trash


@pytest.fixture
def t(tmp_path: Path) -> Trash:
    return Trash(Repository.make(tmp_path / "repository"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "scope1").mkdir()
    file = tmp_path / "scope1" / "scan.tif"
    file.write_bytes(b"pixels")
    return file


def test_a_deleted_fileset_is_in_the_trash_and_comes_back(t: Trash) -> None:
    kept = t.imported(b"P/D/other.tif", content=b"others")
    alone = t.tree()
    fileset = t.imported(SCAN)
    before, originals = t.tree(), t.repository.originals()
    gone = t.delete(fileset)
    assert t.tree() == alone and t.has_thrown(fileset)
    assert [one["fileset"] for one in t.repository.originals()] == [f"Fileset:{kept}"]
    directory = os.fsencode(str(originals[1]["import_path"])).rpartition(b"/")[0]
    assert gone.names == (directory, directory + b".log", b"alice_2/" + SCAN)
    assert gone.deleted.size == 6
    restored = t.restore(fileset)
    assert (restored.import_directory, restored.told) == (directory, ())
    assert t.tree() == before and t.repository.originals() == originals
    assert os.listdir(t.repository.layout.trash) == []


def test_emptied_it_is_gone_for_good_and_its_id_is_not_used_again(t: Trash) -> None:
    fileset = t.imported(SCAN)
    t.delete(fileset)
    assert t.empty(fileset) == 6
    assert os.listdir(t.repository.layout.trash) == []
    with pytest.raises(NotFound, match="not in the trash"):
        t.restore(fileset)
    assert t.imported(SCAN) > fileset


def test_a_directory_goes_as_one_with_the_directories_in_it(t: Trash) -> None:
    t.repository.path(t.repository.alice, b"P").mkdir()
    t.imported(b"P/other.tif", content=b"others")
    alone = t.tree()
    fileset = t.imported(*ZARR, as_one=b"P/a.zarr")
    before = t.tree()
    gone = t.delete(fileset).names
    assert t.tree() == alone
    assert gone[2:4] == (b"alice_2/P/a.zarr/.zattrs", b"alice_2/P/a.zarr")
    t.restore(fileset)
    assert t.tree() == before


def test_what_was_added_to_a_directory_stays(t: Trash) -> None:
    fileset = t.imported(*ZARR, as_one=b"P/a.zarr")
    mine = t.repository.path(t.repository.alice, b"P/a.zarr/0/notes.txt")
    mine.write_bytes(b"mine")
    t.delete(fileset)
    assert [path.name for path in mine.parents[1].rglob("*")] == ["0", "notes.txt"]


def test_names_that_its_user_has_moved_or_made_go_along(t: Trash) -> None:
    fileset = t.imported(SCAN)
    path = t.repository.path(t.repository.alice, SCAN)
    elsewhere = t.repository.path(t.repository.alice, b"Q/deep/renamed.tif")
    elsewhere.parent.mkdir(parents=True)
    os.rename(path, elsewhere)
    os.link(elsewhere, path.with_name("second.tif"))
    before = t.tree()
    t.delete(fileset)
    assert not elsewhere.exists() and not path.with_name("second.tif").exists() and elsewhere.parent.is_dir()
    t.restore(fileset)
    assert t.tree() == before


def test_a_name_that_is_moved_meanwhile_is_found(t: Trash, monkeypatch: pytest.MonkeyPatch) -> None:
    fileset = t.imported(SCAN)
    path = t.repository.path(t.repository.alice, SCAN)
    discard = trash.discard

    def move_first(*args: object, **more: object) -> None:
        os.rename(path, path.with_name("moved.tif"))
        discard(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(trash, "discard", move_first)
    gone = t.delete(fileset)
    assert b"alice_2/P/D/moved.tif" in gone.names
    assert not path.with_name("moved.tif").exists()
    t.restore(fileset)
    assert path.with_name("moved.tif").read_bytes() == b"pixels"


def test_another_file_of_its_name_is_left_alone(t: Trash) -> None:
    fileset = t.imported(SCAN)
    path = t.repository.path(t.repository.alice, SCAN)
    path.unlink()
    path.write_bytes(b"another")
    t.delete(fileset)
    assert path.read_bytes() == b"another"
    t.restore(fileset)
    assert path.read_bytes() == b"another"


def test_names_that_are_taken_come_back_beside(t: Trash) -> None:
    fileset, zarr = t.imported(SCAN), t.imported(*ZARR, as_one=b"P/a.zarr")
    gone = t.delete(fileset), t.delete(zarr)
    t.repository.write(t.repository.alice, SCAN, b"another")
    t.repository.write(t.repository.alice, ZARR[1], b"another")
    taken = t.repository.layout.managed / os.fsdecode(gone[0].names[0])
    taken.mkdir(parents=True)
    restored = t.restore(fileset)
    directory = f"{taken.relative_to(taken.parents[2])}"
    assert restored.told == (
        "P/D/scan.tif is taken: it is P/D/scan.restored.tif now",
        f"its import directory is {directory}.restored now: the name that it had is taken",
    )
    beside = t.repository.path(t.repository.alice, b"P/D/scan.restored.tif")
    mark = t.repository.check_whole(beside)
    assert mark.import_directory == f"{directory}.restored"
    assert t.restore(zarr).told == ("P/a.zarr is taken: it is P/a.restored.zarr now",)
    assert t.repository.path(t.repository.alice, b"P/a.restored.zarr/0/0.1").read_bytes() == b"pixels"
    assert not t.repository.path(t.repository.alice, b"P/a.zarr/0/0.1").exists()
    t.delete(fileset)  # and it can be deleted again from there
    assert not beside.exists() and t.has_thrown(fileset)


@pytest.mark.parametrize(
    ("transfer", "frees"),
    [("upload", 6), ("upload_rm", 6), ("cp", 6), ("cp_rm", 6), ("ln_s", 0), ("ln", 0), ("ln_rm", 6)],
)
def test_of_every_transfer_what_is_outside_stays(t: Trash, source: Path, transfer: str, frees: int) -> None:
    path, drop, fd = stand_in(t.repository, source, transfer)
    fileset = t.took(drop, fd, source)
    there = source.exists()
    before, originals, links = t.tree(), t.repository.originals(), os.listdir(t.repository.layout.linked)
    assert t.delete(fileset).deleted.size == frees
    assert not path.exists() and os.listdir(t.repository.layout.linked) == links
    t.restore(fileset)
    assert t.tree() == before and t.repository.originals() == originals
    t.delete(fileset)
    assert t.empty(fileset) == frees
    assert source.exists() is there and (not there or source.read_bytes() == b"pixels")
    assert os.listdir(t.repository.layout.linked) == []


def test_in_a_copied_repository_the_bytes_of_another_stay(t: Trash, source: Path) -> None:
    """There a stand-in may have the inode number that another had, by which its only bytes are called."""
    _, drop, fd = stand_in(t.repository, source, "ln_rm")
    fileset = t.took(drop, fd, source)
    [link] = t.repository.layout.linked.iterdir()
    link.unlink()
    link.write_bytes(b"bytes of another")
    t.delete(fileset)
    t.empty(fileset)
    assert link.read_bytes() == b"bytes of another"


def test_a_hard_link_outside_the_mount_keeps_the_bytes(t: Trash, tmp_path: Path) -> None:
    fileset = t.imported(SCAN)
    backup = tmp_path / "backup.tif"
    os.link(t.repository.path(t.repository.alice, SCAN), backup)
    t.delete(fileset)
    assert t.has_thrown(fileset)
    assert t.empty(fileset) == 0
    assert backup.read_bytes() == b"pixels"


def test_holes_are_not_counted(t: Trash) -> None:
    path = t.repository.write(t.repository.alice, SCAN, b"x")
    os.truncate(path, 1 << 26)
    t.repository.marks.write(str(path), replace(t.repository.marks.read(str(path)), size=1 << 26))  # type: ignore[type-var]
    fileset = t.took(*t.repository.drop(t.repository.alice, SCAN))
    assert t.delete(fileset).deleted.size <= 1 << 16


def test_without_its_user_directory_it_stays_in_the_trash(t: Trash) -> None:
    fileset = t.imported(SCAN)
    t.delete(fileset)
    user = t.repository.layout.managed / os.fsdecode(t.repository.alice)
    shutil.rmtree(user)
    with pytest.raises(NotFound, match="the directory alice_2 is not there any more"):
        t.restore(fileset)
    assert t.get(fileset).step is Whereabouts.KEPT
    assert t.empty(fileset) == 6


def test_a_restore_that_the_disk_refuses_leaves_it_in_the_trash(t: Trash, monkeypatch: pytest.MonkeyPatch) -> None:
    fileset = t.imported(*ZARR, as_one=b"P/a.zarr")
    names = t.delete(fileset).deleted.names
    alone = t.tree()
    link, done = os.link, []

    def second_fails(*args: object, **more: object) -> None:
        done.append(args)
        if len(done) == 2:
            raise FileExistsError(17, "File exists")
        link(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", second_fails)
    with pytest.raises(Busy, match="try again"):
        t.restore(fileset)
    assert t.tree().keys() - {"alice_2/P"} == alone.keys() - {"alice_2/P"}
    assert t.has_thrown(fileset) and t.get(fileset).names == names
    t.restore(fileset)


# --- a death at each step ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("deaths", [1, 2])
def test_a_death_while_deleting_leaves_it_whole_or_deleted(
    t: Trash, way: str, deaths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, as_one = WAYS[way]
    t.imported(b"P/D/other.tif", content=b"others")
    alone = t.tree()
    fileset = t.imported(*paths, as_one=as_one)
    before, originals = t.tree(), t.repository.originals()
    outcomes = set()
    number = 0
    while die_in(lambda: t.delete(fileset), number, monkeypatch):
        if deaths == 2:
            die_in(t.disposal.recover, number % 5, monkeypatch)
        t.disposal.recover()
        deleted = len(t.repository.originals()) == 1
        outcomes.add(deleted)
        if deleted:
            assert t.tree() == alone and t.has_thrown(fileset)
            t.restore(fileset)
        assert t.tree() == before
        assert t.repository.originals() == originals
        number += 1
    assert outcomes == {False, True} and number > 5


@pytest.mark.parametrize("way", WAYS)
def test_a_death_while_restoring_leaves_it_in_the_trash_or_back(
    t: Trash, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, as_one = WAYS[way]
    t.imported(b"P/D/other.tif", content=b"others")
    alone = t.tree()
    fileset = t.imported(*paths, as_one=as_one)
    before, originals = t.tree(), t.repository.originals()
    t.delete(fileset)
    number = 0
    while die_in(lambda: t.restore(fileset), number, monkeypatch):
        t.disposal.recover()
        if t.repository.originals() == originals:  # it had been committed that it is back
            assert t.tree() == before and os.listdir(t.repository.layout.trash) == []
            t.delete(fileset)
        assert t.tree() == alone and t.has_thrown(fileset)
        number += 1
    assert number > 5
    assert t.tree() == before
    assert t.repository.originals() == originals
    assert t.repository.row(ImportId(2)).state is State.IMPORTED


@pytest.mark.parametrize("transfer", ["upload", "ln", "ln_s"])
def test_a_death_while_emptying_leaves_it_in_the_trash_or_nowhere(
    t: Trash, source: Path, transfer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, dies = 0, True
    while dies:
        _, drop, fd = stand_in(t.repository, source, transfer, f"{number}.tif")
        fileset = t.took(drop, fd, source)
        t.delete(fileset)
        dies = die_in(lambda fileset=fileset: t.empty(fileset), number, monkeypatch)  # type: ignore[misc]
        t.disposal.recover()
        if number and dies:
            with pytest.raises(NotFound):
                t.get(fileset)
            assert os.listdir(t.repository.layout.trash) == [] == os.listdir(t.repository.layout.linked)
        elif dies:
            assert t.has_thrown(fileset)
            t.empty(fileset)
        number += 1
    assert number > 4 and source.read_bytes() == b"pixels"


def test_recovery_leaves_what_the_disk_refuses_to_the_next(t: Trash, monkeypatch: pytest.MonkeyPatch) -> None:
    fileset = t.imported(SCAN)
    assert die_in(lambda: t.delete(fileset), AFTER_THE_NOTE, monkeypatch)

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(TrashCan, "take", broken)
        t.disposal.recover()
    assert t.get(fileset).step is Whereabouts.MOVING
    with pytest.raises(Busy, match="on their way"):
        t.restore(fileset)
    t.disposal.recover()
    assert t.has_thrown(fileset)


# --- names that are hard to go back to ---------------------------------------------------------------


def come_back_to_a_name_of_255_bytes(t: Trash, alice: Path) -> None:
    (alice / NAME_255).write_bytes(b"another")


def come_back_to_a_symlink(t: Trash, alice: Path) -> None:
    (alice / NAME_255).symlink_to("elsewhere.tif")


@pytest.mark.parametrize("take_it", [come_back_to_a_name_of_255_bytes, come_back_to_a_symlink])
def test_a_name_that_cannot_get_longer_is_cut(t: Trash, take_it: Callable[[Trash, Path], None]) -> None:
    fileset = t.imported(NAME_255.encode())
    t.delete(fileset)
    alice = t.repository.layout.managed / os.fsdecode(t.repository.alice)
    take_it(t, alice)
    t.restore(fileset)
    [back] = [path for path in alice.iterdir() if ".restored" in path.name]
    assert back.read_bytes() == b"pixels" and back.name.endswith("é.restored.tif")


@pytest.mark.parametrize("what", ["file", "symlink"])
def test_where_its_directory_was_there_is_something_else(t: Trash, what: str) -> None:
    fileset = t.imported(SCAN)
    t.delete(fileset)
    alice = t.repository.layout.managed / os.fsdecode(t.repository.alice)
    (alice / "P" / "D").rmdir()
    (alice / "P").rmdir()
    (alice / "other").mkdir()
    if what == "file":
        (alice / "P").write_bytes(b"another")
    else:
        (alice / "P").symlink_to("other")
    assert t.restore(fileset).told == ("P/D/scan.tif is taken: it is P.restored/D/scan.tif now",)
    assert (alice / "P.restored" / "D" / "scan.tif").read_bytes() == b"pixels"
    assert os.listdir(alice / "other") == []


def test_a_path_longer_than_PATH_MAX_goes_and_comes_back(t: Trash) -> None:
    deep = b"/".join([b"d" * 200] * 25)
    at = os.open(t.repository.layout.managed / os.fsdecode(t.repository.alice), os.O_RDONLY)
    for name in deep.split(b"/"):
        os.mkdir(name, dir_fd=at)
        above, at = at, os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(above)
    fileset = t.imported(SCAN)
    os.rename(t.repository.path(t.repository.alice, SCAN), b"moved.tif", dst_dir_fd=at)
    names = t.delete(fileset).names
    assert os.path.join(t.repository.alice, deep, b"moved.tif") in names and os.listdir(at) == []
    t.restore(fileset)
    assert os.listdir(at) == ["moved.tif"]
    os.close(at)


def test_an_import_directory_of_an_earlier_template_is_no_other_name(t: Trash) -> None:
    fileset = t.imported(SCAN)
    moved = t.repository.path(t.repository.alice, b"moved.tif")
    os.rename(t.repository.path(t.repository.alice, SCAN), moved)
    settings = config.Settings(repository=config.Repository(template="%user%_%userId%//imports/%time%"))
    t.disposal = Disposal.of(t.repository.layout, settings, t.repository.engine)
    t.delete(fileset)
    assert t.restore(fileset).told == ()
    assert moved.read_bytes() == b"pixels"


def test_after_a_restore_elsewhere_that_failed_marks_say_where_they_are(
    t: Trash, monkeypatch: pytest.MonkeyPatch
) -> None:
    fileset = t.imported(SCAN)
    taken = t.repository.layout.managed / os.fsdecode(t.delete(fileset).names[0])
    taken.mkdir(parents=True)
    with monkeypatch.context() as failing:
        failing.setattr(trash, "restore", lambda *_: (_ for _ in ()).throw(OSError(28, "no space")))
        with pytest.raises(OSError, match="no space"):
            t.restore(fileset)
    taken.rmdir()
    assert t.restore(fileset).told == ()
    t.repository.check_whole(t.repository.path(t.repository.alice, SCAN))
