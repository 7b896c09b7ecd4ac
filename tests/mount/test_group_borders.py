"""What lies in one directory may be of several groups: no act on the directory carries data over their border."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.administered import Administered, administered
from tests.helpers.companion import answer
from tests.helpers.drops import drop, set_on
from tests.helpers.mounting import fact
from tests.helpers.people import Person

LAB, SECRET, TEAM = 61000, 61010, 61020
ALICE = Person("alice", 61001, LAB, (TEAM,))
BOB = Person("bob", 61002, LAB, (TEAM,))


def populate(drive: Administered) -> None:
    for name, gid, level in (("lab", LAB, "read-write"), ("secret", SECRET, "private"), ("team", TEAM, "read-write")):
        drive.add_group(name, gid, level)
    for person in (ALICE, BOB):
        drive.add_user(person, "lab")
    for group in ("secret", "team"):
        drive.add_member(group, ALICE)


@pytest.fixture
def drive() -> Iterator[Administered]:
    with administered(populate) as drive:
        yield drive


@pytest.fixture
def inner(drive: Administered) -> Path:
    """A directory of the private group in one of the read-write group."""
    outer = drive.home(ALICE) / "outer"
    ALICE.do(os.mkdir, outer)
    ALICE.do(os.mkdir, outer / "inner")
    ALICE.do(os.setxattr, outer / "inner", "user.repofs.group", b"secret")
    return outer / "inner"


def test_a_former_member_moves_nothing_out_of_the_group(drive: Administered, inner: Path) -> None:
    """Not by a chgrp of the directory above, which is hers."""
    path = drop(ALICE, inner / "scan.bin")
    drive.wait_imported(path)
    drive.remove_member("secret", ALICE)
    ALICE.do(os.setxattr, inner.parent, "user.repofs.group", b"lab")
    assert (path.stat().st_gid, inner.stat().st_gid) == (SECRET, SECRET)
    assert {answer(person.do, path.read_bytes) for person in (ALICE, BOB)} == {"EACCES"}


def test_a_directory_format_of_two_groups_is_not_imported(drive: Administered, inner: Path) -> None:
    """Whoever may rename the outer directory would make private files part of a fileset that she sees."""
    set_on(ALICE, inner, "policy", {"marker": "never"})
    drop(ALICE, inner / "scan.bin")
    whole = inner.parent.with_suffix(".zarr")
    BOB.do(os.rename, inner.parent, whole)
    drive.allowed = ["belongs to another group"]
    path = whole / "inner" / "scan.bin"
    drive.wait_state(path, "failed")
    assert "belongs to another group" in (fact(path, "error") or "")
    assert answer(BOB.do, path.read_bytes) == "EACCES"
    ALICE.do(os.setxattr, whole, "user.repofs.group", b"secret")
    ALICE.do(os.setxattr, whole, "user.repofs.import", b"retry")
    drive.wait_imported(path)
    assert drive.original_of(path).stat().st_gid == SECRET


def test_chgrp_of_a_drop_that_was_looked_up_in_its_import_directory_first(drive: Administered) -> None:
    path = drop(ALICE, drive.home(ALICE) / "scan.bin")
    drive.wait_imported(path)
    original = drive.original_of(path)
    drive.stop()
    drive.start()
    original.stat()
    ALICE.do(os.chown, path, -1, TEAM)
    assert (path.stat().st_gid, original.stat().st_gid) == (TEAM, TEAM)


@pytest.mark.parametrize("option", ["-p", "-a"])
def test_cp_by_an_owner_of_the_group_whose_session_is_in_it(drive: Administered, option: str) -> None:
    """It sets owner and group in one call, to what they are."""
    drive.add_member("lab", BOB, owner=True)
    drive.add_member("team", BOB)
    source = drop(BOB, drive.outside / "scan.bin")
    BOB.run("cp", option, source, drive.home(ALICE) / "same.bin")
    BOB.do(os.chown, source, -1, TEAM)
    BOB.run("cp", option, source, drive.home(ALICE) / "other.bin")
    drive.wait_imported(drive.home(ALICE) / "same.bin", drive.home(ALICE) / "other.bin")
    assert {one.stat().st_gid for one in drive.home(ALICE).glob("*.bin")} == {LAB}


def test_one_import_directory_that_is_missing_leaves_no_other_behind(drive: Administered) -> None:
    folder = drive.home(ALICE) / "folder"
    ALICE.do(os.mkdir, folder)
    paths = [drop(ALICE, folder / f"{number}.bin", bytes([number])) for number in range(3)]
    for path in paths:
        drive.wait_imported(path)
    lost = drive.backing(drive.original_of(paths[0])).parent
    lost.rename(drive.outside / "lost")
    drive.allowed = ["keeps its group"]
    assert answer(ALICE.do, os.setxattr, folder, "user.repofs.group", b"secret") == "ENOENT"
    assert {drive.original_of(path).stat().st_gid for path in paths[1:]} == {SECRET}
    (drive.outside / "lost").rename(lost)
    ALICE.do(os.setxattr, folder, "user.repofs.group", b"secret")
    assert paths[0].stat().st_gid == SECRET
