"""The repository of the permission matrix: a group of each level with its people, and objects for every cell."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.helpers.accounts import Accounts
from tests.helpers.administered import Administered, administrators
from tests.helpers.drops import set_on
from tests.helpers.mounting import fact
from tests.helpers.omero_matrix import LEVELS, Act, Role, Thing
from tests.helpers.people import ROOT, Person
from tests.helpers.permission_cells import SECRET, Cell, Objects
from tests.helpers.waiting import until

EVERY_PRIVILEGE = ["Sudo", "WriteOwned", "DeleteOwned", "Chgrp", "Chown", "ModifyGroup", "ModifyUser"]
PRIVILEGES_OF: Mapping[Role, list[str]] = {
    Role.ADMINISTRATOR: EVERY_PRIVILEGE,
    Role.SUDO: ["Sudo"],
    Role.WRITE_OWNED: ["WriteOwned"],
    Role.DELETE_OWNED: ["DeleteOwned"],
    Role.NO_PRIVILEGE: [],
}
SETTINGS = """
[drops]
settle_seconds = 0.1
directory_settle_seconds = 0.1
[readers]
workers = 1
[[sources]]
name = "scope"
path = "@outside@"
"""
COLD = "cold"  # the run in which nobody has looked at an object before its cell
FOREIGN_UID = 60999  # whose the source of an in-place original is

_GIDS = {level: 62000 + 10 * number for number, level in enumerate(LEVELS)}
_ELSEWHERE = "elsewhere", 62090  # a group of the repository that none of the data is in


def make_administrators(accounts: Accounts) -> dict[Role, tuple[str, Person]]:
    """Make a Unix group for each set of privileges and an account in it."""
    made = {}
    for role in PRIVILEGES_OF:
        group = accounts.group(role.name.lower()[:8])
        made[role] = group, accounts.person(f"{role.name.lower()[:8]}p", group)
    return made


def settings(made: Mapping[Role, tuple[str, Person]]) -> str:
    return SETTINGS + administrators({group: PRIVILEGES_OF[role] for role, (group, _) in made.items()})


class Laboratory(Administered):
    """A group of each level. Its objects are made by its owner in a first mount; the cells belong to a second."""

    runs: Sequence[str] = ()

    def populate(self, made: Mapping[Role, tuple[str, Person]]) -> None:
        """Add the groups and their people: while nothing is mounted."""
        self.people: dict[tuple[Role, str], Person] = {}
        self.add_group(*_ELSEWHERE, "private")
        for level in LEVELS:
            self.add_group(level, _GIDS[level], level)
            self._add_people(level)
            for role, (_, person) in made.items():
                self.people[role, level] = person
            self.people[Role.STRANGER, level] = Person("stranger", 62999, 62999)
            self.people[Role.ROOT, level] = ROOT

    def _add_people(self, level: str) -> None:
        gid = _GIDS[level]
        owner = Person(f"owner-{level}", gid + 1, gid)  # in a namespace her gid gives her most
        member = Person(f"member-{level}", gid + 2, gid + 2)  # who is a member does not depend on her session's gids
        boss = Person(f"boss-{level}", gid + 3, gid + 3)
        former = Person(f"former-{level}", gid + 4, gid, (gid,))
        for person in (owner, member, boss):
            self.add_user(person, level)
        self.add_member(level, boss, owner=True)
        self.add_user(former, _ELSEWHERE[0])
        self.add_member(level, former)
        self.remove_member(level, former)
        for role, person in zip((Role.OWNER, Role.MEMBER, Role.GROUP_OWNER), (owner, member, boss), strict=True):
            self.people[role, level] = person
        self.people[Role.FORMER_MEMBER, level] = former

    def gid(self, level: str) -> int:
        return _GIDS[level]

    def owner(self, level: str) -> Person:
        return self.people[Role.OWNER, level]

    # --- the objects ----------------------------------------------------------------------------

    def make_objects(self, runs: Sequence[str]) -> None:
        """Make the objects of all cells of the named runs, as their owners, and wait until originals are such."""
        self.runs = runs
        places = list(self._places())
        for level in LEVELS:
            owner, home = self.owner(level), self.home(self.owner(level))
            set_on(owner, home, "policy", {"settle_seconds": 86400})  # what is dropped stays a drop
            owner.do(os.mkdir, home / "originals")
            set_on(owner, home / "originals", "policy", {"settle_seconds": 0.1})
            self._make_sources(level, places)
            owner.do(_make_all, home, places, self.outside / level)
        for level in LEVELS:
            self._wait_all_imported(self.home(self.owner(level)) / "originals", 2 * len(places))

    def _wait_all_imported(self, directory: Path, count: int) -> None:
        def told() -> str | None:
            return fact(directory, "state")

        until(lambda: told() == f"imported: {count} imported", lambda: f"{directory}: {told()}", 120.0)

    def _places(self) -> Iterator[str]:
        yield from {_place(*one): None for one in itertools.product(self.runs, Role, Act)}

    def _make_sources(self, level: str, places: Sequence[str]) -> None:
        """Make what the originals in place are linked to: somebody else's, who lets all others read only."""
        directory = self.outside / level
        directory.mkdir()
        for place in places:
            source = directory / place
            source.write_bytes(f"{level} {place} placed".encode())
            source.chmod(0o444)
            os.chown(source, FOREIGN_UID, FOREIGN_UID)

    def alter_behind_the_mount(self) -> None:
        """Give each object its secret, and what is to be removed of it."""
        self.imported = {str(one["path"]): one for one in self.originals()}
        for cell in self.cells(self.runs):
            path = self.backing(cell.path)
            if cell.act is Act.SECRET or cell.act is Act.REMOVE:
                os.setxattr(path, SECRET if cell.act is Act.SECRET else cell.removable, b"value")

    # --- the cells ------------------------------------------------------------------------------

    def cells(self, runs: Sequence[str], *, in_namespace: bool = False) -> Iterator[Cell]:
        """Yield all cells of the named runs, those of one person and one level together."""
        for run, level, role in itertools.product(runs, LEVELS, Role):
            for act in Act:
                objects = self._objects(level, _place(run, role, act))
                for thing in Thing:
                    yield Cell(role, level, thing, act, objects, run, in_namespace)

    def _objects(self, level: str, place: str) -> Objects:
        home = self.home(self.owner(level))
        scan = home / "originals" / f"{place}.scan"
        original = self.imported[str(scan.relative_to(self.mountpoint))]
        return Objects(
            drop=home / "drops" / f"{place}.drop",
            original=scan,
            kept=self.mountpoint / str(original["import_path"]),
            in_place=home / "originals" / f"{place}.placed",
            table=home / "drops" / f"{place}.tiledb",
            home=home,
            mount_root=self.mountpoint,
            original_file=str(original["original"]),
        )


def _place(run: str, role: Role, act: Act) -> str:
    """Return the name of a cell's objects: in the cold run its own; else shared by all acts that leave them there."""
    own = run == COLD or act in (Act.RENAME, Act.UNLINK)
    return f"{run}-{role.name}-{act.name if own else 'REST'}"


def _make_all(home: Path, places: Sequence[str], sources: Path) -> None:
    drops, originals = home / "drops", home / "originals"
    os.mkdir(drops)
    for place in places:
        (drops / f"{place}.drop").write_bytes(b"drop")
        os.mkdir(drops / f"{place}.tiledb")
        (drops / f"{place}.tiledb" / "data").write_bytes(b"data")
        (originals / f"{place}.scan").write_bytes(f"{home} {place} scan".encode())
        os.symlink(sources / place, originals / f"{place}.placed")
