"""chgrp of a directory moves all that is in it, and what was imported from there, to another of its owner's groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.administered import Administered, administered
from tests.helpers.companion import answer
from tests.helpers.drops import described, drop, set_on
from tests.helpers.mounting import fact, tell
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

LAB, TEAM, FOREIGN, NO_GROUP = 61000, 61010, 61020, 61030
ALICE = Person("alice", 61001, LAB, (TEAM, FOREIGN, NO_GROUP))  # FOREIGN: of her session, though she is no member
BOB = Person("bob", 61002, 61002)  # of lab alone
CAROL = Person("carol", 61003, 61003)  # of team alone
BOSS = Person("boss", 61004, 61004, (LAB, TEAM))  # owner of lab and in team


def populate(drive: Administered) -> None:
    for name, gid in (("lab", LAB), ("team", TEAM), ("foreign", FOREIGN)):
        drive.add_group(name, gid, "read-only")
    for person, group in ((ALICE, "lab"), (BOB, "lab"), (CAROL, "team"), (BOSS, "lab")):
        drive.add_user(person, group)
    drive.add_member("lab", BOSS, owner=True)
    for person in (ALICE, BOSS):
        drive.add_member("team", person)


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    with administered(populate) as drive:
        yield drive


@pytest.fixture
def folder(drive: Administered, request: pytest.FixtureRequest) -> Path:
    path = drive.home(ALICE) / request.node.name
    ALICE.do(os.mkdir, path)
    return path


@pytest.fixture
def scan(scan: Path) -> bytes:
    return scan.read_bytes()


def stay_a_drop(path: Path) -> Path:
    """Drop a file in a directory of its own that is not imported."""
    ALICE.do(os.mkdir, path.parent)
    set_on(ALICE, path.parent, "policy", {"settle_seconds": 86400})
    return drop(ALICE, path)


def chgrp(directory: Path, gid: int = TEAM, person: Person = ALICE) -> None:
    person.run("chgrp", str(gid), directory)


def sees(person: Person, path: Path | str) -> bool:
    """Whether *person* can open *path*: `stat` of a name depends on the directory that it is in."""
    got = person.do(answer, os.open, path, os.O_RDONLY)
    assert got in ("ok", "EACCES"), (person, path, got)
    return got == "ok"


def sees_object(drive: Administered, person: Person, name: str) -> bool:
    return person.do(answer, os.getxattr, drive.mountpoint, f"user.repofs.{name}") == "ok"


def group_of(drive: Administered, what: str) -> Any:
    return described(drive, ROOT, what)["group"]


# --- what moves -----------------------------------------------------------------------------------


def test_drops_and_originals_and_their_import_directories_move(drive: Administered, folder: Path) -> None:
    original, waiting = drop(ALICE, folder / "scan.bin"), stay_a_drop(folder / "later" / "drop.bin")
    drive.wait_imported(original)
    kept = drive.original_of(original)
    everything = [folder, original, waiting, waiting.parent, kept, kept.parent, f"{kept.parent}.log"]
    assert [sees(BOB, path) for path in everything] == [True] * len(everything)
    assert not any(sees(CAROL, path) for path in everything)
    chgrp(folder)
    assert [sees(CAROL, path) for path in everything] == [True] * len(everything)
    assert not any(sees(BOB, path) for path in everything)
    assert {os.stat(path).st_gid for path in everything} == {TEAM}
    assert kept.name in CAROL.do(os.listdir, kept.parent)
    assert ALICE.do(kept.read_bytes) == ALICE.do(original.read_bytes)


def test_the_catalogue_moves(drive: Administered, folder: Path, scan: bytes) -> None:
    """Fileset, original, image, and the dataset and project that the image is in."""
    ALICE.do(os.makedirs, folder / "Project P" / "Dataset D")
    set_on(ALICE, folder / "Project P" / "Dataset D", "target", f"Dataset:name:of {folder.name}")
    path = drop(ALICE, folder / "Project P" / "Dataset D" / "scan.tif", scan)
    drive.wait_imported(path)
    facts = [str(fact(path, name)) for name in ("fileset", "original", "images")]
    [dataset] = described(drive, ALICE, facts[0])["datasets"]
    objects = [*facts, dataset["object"]]
    assert {group_of(drive, one) for one in objects} == {"lab"}
    assert not any(sees_object(drive, CAROL, one) for one in objects)
    chgrp(folder)
    assert {group_of(drive, one) for one in objects} == {"team"}
    assert all(sees_object(drive, CAROL, one) for one in objects)
    assert not any(sees_object(drive, BOB, one) for one in objects)
    assert all(sees_object(drive, BOSS, one) for one in objects)


def test_it_comes_back(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin")
    drive.wait_imported(path)
    for gid, seen in ((TEAM, False), (LAB, True), (TEAM, False), (LAB, True)):
        chgrp(folder, gid)
        assert (sees(BOB, path), sees(CAROL, path)) == (seen, not seen)
        assert group_of(drive, str(fact(path, "fileset"))) == ("lab" if seen else "team")


def test_what_is_dropped_there_later_belongs_to_the_group(drive: Administered, folder: Path) -> None:
    chgrp(folder)
    ALICE.do(os.mkdir, folder / "below")
    path = drop(ALICE, folder / "below" / "scan.bin")
    assert path.stat().st_gid == (folder / "below").stat().st_gid == TEAM
    drive.wait_imported(path)
    kept = drive.original_of(path)
    assert group_of(drive, str(fact(path, "fileset"))) == "team"
    assert [sees(CAROL, one) for one in (path, kept, f"{kept.parent}.log")] == [True] * 3
    assert not any(sees(BOB, one) for one in (path, kept, f"{kept.parent}.log"))


def test_nested_directories_move_with_it_and_their_neighbours_stay(drive: Administered, folder: Path) -> None:
    ALICE.do(os.makedirs, folder / "a" / "b" / "c")
    ALICE.do(os.makedirs, folder / "stays")
    inside, beside = drop(ALICE, folder / "a" / "b" / "c" / "scan.bin"), drop(ALICE, folder / "stays" / "scan.bin")
    drive.wait_imported(inside, beside)
    chgrp(folder / "a" / "b")
    assert sees(CAROL, drive.original_of(inside)) and not sees(BOB, drive.original_of(inside))
    assert sees(BOB, drive.original_of(beside)) and not sees(CAROL, drive.original_of(beside))
    assert not sees(CAROL, inside)  # the directories above it are of the other group
    chgrp(folder / "a")
    chgrp(folder)
    assert sees(CAROL, inside) and sees(CAROL, beside) and not sees(BOB, beside)
    chgrp(folder / "stays", LAB)
    assert sees(BOB, drive.original_of(beside)) and not sees(CAROL, drive.original_of(beside))


def test_a_file_of_several_names_has_one_group(drive: Administered, folder: Path) -> None:
    """Its bytes and its import are one: all its names show the group of the directory that was moved last."""
    for name in ("one", "other"):
        ALICE.do(os.mkdir, folder / name)
    path, link = folder / "one" / "scan.bin", folder / "other" / "scan.bin"
    drop(ALICE, path)
    drive.wait_imported(path)
    ALICE.do(os.link, path, link)
    chgrp(folder / "one")
    kept = drive.original_of(path)
    assert path.stat().st_gid == link.stat().st_gid == kept.stat().st_gid == TEAM
    assert group_of(drive, str(fact(path, "fileset"))) == "team"
    assert sees(CAROL, kept) and not sees(BOB, kept)
    assert BOB.do(answer, os.open, link, os.O_RDONLY) == "EACCES"


def test_a_link_is_not_followed(drive: Administered, folder: Path) -> None:
    ALICE.do(os.mkdir, folder / "beside")
    other = drop(ALICE, folder / "beside" / "scan.bin")
    drive.wait_imported(other)
    ALICE.do(os.mkdir, folder / "moved")
    ALICE.do(os.symlink, other.parent, folder / "moved" / "link")
    chgrp(folder / "moved")
    assert other.stat().st_gid == other.parent.stat().st_gid == LAB


def test_a_directory_that_is_one_fileset_moves_whole(drive: Administered, folder: Path) -> None:
    plate = folder / "plate.zarr"
    ALICE.do(os.makedirs, plate / "0")
    for name in (".zarray", "0/0.0"):
        drop(ALICE, plate / name)
    drive.wait_imported(plate / ".zarray", plate / "0" / "0.0")
    kept = drive.original_of(plate / "0" / "0.0")
    chgrp(folder)
    assert sees(CAROL, kept) and sees(CAROL, plate / "0" / "0.0") and not sees(BOB, kept)


def test_chgrp_with_everything_below(drive: Administered, folder: Path) -> None:
    """`chgrp -R` asks for the files first, and for the directory last."""
    ALICE.do(os.mkdir, folder / "below")
    path = drop(ALICE, folder / "below" / "scan.bin")
    drive.wait_imported(path)
    ALICE.run("chgrp", "-R", str(TEAM), folder)
    assert sees(CAROL, path) and sees(CAROL, drive.original_of(path)) and not sees(BOB, path)
    assert group_of(drive, str(fact(path, "fileset"))) == "team"


def test_it_stays_so_after_a_remount(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin")
    drive.wait_imported(path)
    chgrp(folder)
    drive.stop()
    drive.start()
    kept = drive.original_of(path)
    assert sees(CAROL, path) and sees(CAROL, kept) and not sees(BOB, path) and not sees(BOB, kept)


# --- who, and whereto -----------------------------------------------------------------------------


def test_to_a_group_that_she_is_not_in(drive: Administered, folder: Path) -> None:
    """Her session has its gid, and root may do what she likes: what counts is whose the data are."""
    for person in (ALICE, ROOT):
        assert person.do(answer, os.chown, folder, -1, FOREIGN) == "EPERM"
    assert folder.stat().st_gid == LAB


def test_to_a_group_that_is_none_of_the_repository(drive: Administered, folder: Path) -> None:
    """rsync -a and cp -a do it unasked: it is taken and has no effect."""
    path = stay_a_drop(folder / "drop" / "drop.bin")
    for person in (ALICE, ROOT):
        for one in (folder, path):
            assert person.do(answer, os.chown, one, -1, NO_GROUP) == "ok"
            assert one.stat().st_gid == LAB


def test_a_drop_alone(drive: Administered, folder: Path) -> None:
    path = stay_a_drop(folder / "drop" / "drop.bin")
    ALICE.do(os.chown, path, -1, TEAM)
    assert path.stat().st_gid == TEAM
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    assert group_of(drive, str(fact(path, "fileset"))) == "team"
    assert sees(CAROL, drive.original_of(path)) and not sees(BOB, drive.original_of(path))


def test_by_root(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin")
    drive.wait_imported(path)
    chgrp(folder, TEAM, ROOT)
    assert sees(CAROL, path) and not sees(BOB, path)


@pytest.mark.parametrize("person", [BOB, CAROL, BOSS], ids=lambda person: person.name)
def test_by_others(drive: Administered, folder: Path, person: Person) -> None:
    """A member, one who cannot see it, and an owner of the group who is in both groups."""
    assert person.do(answer, os.chown, folder, -1, TEAM) in ("EPERM", "EACCES")
    assert folder.stat().st_gid == LAB


def test_what_the_repository_keeps_is_not_moved_by_itself(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin")
    drive.wait_imported(path)
    kept = drive.original_of(path)
    for one in (kept.parent, kept.parents[1], Path(f"{kept.parent}.log"), drive.home(ALICE), drive.mountpoint):
        for person in (ALICE, ROOT):
            assert person.do(answer, os.chown, one, -1, TEAM) == "EPERM", one
    assert path.stat().st_gid == kept.stat().st_gid == LAB


# --- at the same time -----------------------------------------------------------------------------


def test_while_imports_are_under_way(drive: Administered, folder: Path) -> None:
    """The group is changed again and again while files are dropped and imported: in the end all agree."""
    paths = [folder / f"{number}.bin" for number in range(60)]

    def drop_all() -> None:
        for path in paths:
            path.write_bytes(str(path).encode() * 1000)
            tell(path, "now")

    child = os.fork()
    if child == 0:
        ALICE.become()
        os._exit(0 if answer(drop_all) == "ok" else 1)
    gid = LAB
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        gid = TEAM if gid == LAB else LAB
        chgrp(folder, gid)
    chgrp(folder, TEAM)
    drive.wait_imported(*paths)
    for path in paths:
        kept = drive.original_of(path)
        gids = {os.stat(one).st_gid for one in (path, kept, kept.parent, f"{kept.parent}.log")}
        assert gids == {TEAM}, path
        assert group_of(drive, str(fact(path, "fileset"))) == "team"
        assert sees(CAROL, kept) and not sees(BOB, kept)


def test_a_drop_that_is_being_imported(drive: Administered, folder: Path) -> None:
    """Its import is waited for, and moved: nothing is left between two groups."""
    path = drop(ALICE, folder / "large.bin", os.urandom(1 << 20) * 150)
    ALICE.do(tell, path, "now")
    until(lambda: fact(path, "state") in ("importing", "imported"), "the import has begun")
    chgrp(folder)
    drive.wait_imported(path)
    kept = drive.original_of(path)
    assert {one.stat().st_gid for one in (folder, path, kept, kept.parent)} == {TEAM}
    assert group_of(drive, str(fact(path, "fileset"))) == "team"
    assert sees(CAROL, kept) and not sees(BOB, kept)
