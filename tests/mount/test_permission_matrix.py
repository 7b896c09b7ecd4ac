"""Every person × every level × every object × every act, by real uids, against OMERO's documented table.

Run on objects that nobody has looked at since the repository was mounted, on objects that the kernel keeps since their
owner used them, and by people who have made themselves root in a user namespace of their own.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from repofs.namespace.backing import RENAME_EXCHANGE
from tests.helpers import mounting
from tests.helpers.accounts import accounts
from tests.helpers.calls import rename2
from tests.helpers.companion import answer
from tests.helpers.matrix_laboratory import COLD, FOREIGN_UID, Laboratory, make_administrators, settings
from tests.helpers.namespaces import inside, own_namespace, require_namespaces
from tests.helpers.omero_matrix import LEVELS, OTHERS, Act, Role, Thing, expected, rights
from tests.helpers.people import ROOT, Person
from tests.helpers.permission_cells import SECRET, Cell, answers, explained

RUNS = (COLD, "warm", "namespace")
DOCUMENTED = Path(__file__).parents[2] / "docs" / "reference" / "permissions.md"

Answering = Callable[[Person, Sequence[Cell]], list[str]]


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    """All people and objects, in a mount that has been made after the objects."""
    with accounts() as made_accounts, mounting.scratch() as place:
        made = make_administrators(made_accounts)
        laboratory = Laboratory(place, settings(made))
        try:
            laboratory.populate(made)
            laboratory.start()
            laboratory.make_objects(RUNS)
            laboratory.stop()
            laboratory.alter_behind_the_mount()
            laboratory.start()
            yield laboratory
            laboratory.check()
            laboratory.stop()
        finally:
            laboratory.clean_up()


def run_matrix(laboratory: Laboratory, run: str, ask: Answering, report: Callable[[str], None]) -> None:
    """Let all people do what is theirs to do in *run*, and compare; the number of cells is reported."""
    in_namespace = run == "namespace"
    protected = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() != "0"
    failures, counted = [], Counter[str]()
    cells = laboratory.cells([run], in_namespace=in_namespace)
    for (level, role), hers in itertools.groupby(cells, lambda cell: (cell.level, cell.role)):
        asked = list(hers)
        for cell, got in zip(asked, ask(laboratory.people[role, level], asked), strict=True):
            right = expected(role, level, cell.thing, cell.act, in_namespace=in_namespace, links_protected=protected)
            counted["allowed" if right == {"ok"} else "refused"] += 1
            if got not in right:
                failures.append((cell, right, got))
    report(
        f"permission matrix, {run}: {counted.total()} cells ({counted['allowed']} to be allowed, "
        f"{counted['refused']} refused), {len(failures)} answered otherwise"
    )
    assert not failures, f"{len(failures)} of {counted.total()} cells:\n{explained(failures)}"


def as_herself(person: Person, cells: Sequence[Cell]) -> list[str]:
    return person.do(answers, cells)


def as_root_of_her_own(person: Person, cells: Sequence[Cell]) -> list[str]:
    with own_namespace(person) as namespace:
        return list(person.do(inside, namespace, answers, cells))


# --- the matrix -----------------------------------------------------------------------------------


def test_the_table_here_is_the_documented_one() -> None:
    """Each cell "V – D E" of the page, against the table that the expected answers come from."""
    rows = re.findall(r"^\| (member|group owner|administrator) \|(.+)\|$", DOCUMENTED.read_text(), re.MULTILINE)
    documented = {
        who: dict(zip(LEVELS, (cell.replace(" ", "").replace("–", "-") for cell in cells.split("|")), strict=True))
        for who, cells in rows
    }
    assert documented == OTHERS


def test_nobody_is_given_more_than_root_and_strangers_nothing() -> None:
    for role, level in itertools.product(Role, LEVELS):
        most = rights(Role.OWNER, level) if role is Role.OWNER else rights(Role.ROOT, level)
        assert rights(role, level) <= most
    assert not any(rights(role, level) for role in (Role.STRANGER, Role.FORMER_MEMBER) for level in LEVELS)


def test_cold(laboratory: Laboratory, report: Callable[[str], None]) -> None:
    """Nobody has looked at an object before its cell: the kernel must ask the daemon."""
    run_matrix(laboratory, COLD, as_herself, report)


def test_warm(laboratory: Laboratory, report: Callable[[str], None]) -> None:
    """The owner has used every object: what the kernel keeps from her it must keep from the others."""
    for level in LEVELS:
        mine = [cell.path for cell in laboratory.cells(["warm"]) if cell.level == level]
        laboratory.owner(level).do(use_all, mine)
    run_matrix(laboratory, "warm", as_herself, report)


def use_all(paths: Sequence[Path]) -> None:
    """Look at and open all *paths*, so that the kernel has their names, attributes, ACLs and bytes."""
    for path in paths:
        path.lstat()
        if path.is_dir():
            os.listdir(path)
        else:
            path.read_bytes()
        os.listxattr(path)


def test_in_a_namespace_of_her_own(laboratory: Laboratory, report: Callable[[str], None]) -> None:
    """There everybody has all capabilities over what is hers, by which the kernel overrides mode bits."""
    require_namespaces(laboratory.owner("private"))
    run_matrix(laboratory, "namespace", as_root_of_her_own, report)


# --- whose things are -----------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_things_belong_to_the_owner_and_the_group(laboratory: Laboratory, level: str) -> None:
    """What `stat` shows, also of an original in place whose source is somebody else's."""
    cell = next(cell for cell in laboratory.cells([COLD]) if cell.level == level and cell.act is Act.STAT)
    owner, paths = laboratory.owner(level), {thing: cell.objects.path(thing) for thing in Thing}
    origin = json.loads(os.getxattr(paths[Thing.IN_PLACE], "user.repofs.origin"))
    assert (laboratory.outside / origin["path"]).stat().st_uid == FOREIGN_UID
    shown = {thing: (path.lstat().st_uid, path.lstat().st_gid) for thing, path in paths.items()}
    theirs = {thing for thing in Thing if thing not in (Thing.MOUNT_ROOT, Thing.LOG, Thing.IMPORT_DIRECTORY)}
    assert {thing: shown[thing] for thing in theirs} == dict.fromkeys(theirs, (owner.uid, laboratory.gid(level)))
    assert shown[Thing.MOUNT_ROOT][0] == 0


@pytest.mark.parametrize("role", Role)
def test_the_root_lists_the_directories_that_she_may_see_something_in(laboratory: Laboratory, role: Role) -> None:
    for level in LEVELS:
        person = laboratory.people[role, level]
        shown = set(person.do(os.listdir, laboratory.mountpoint))
        for other in LEVELS:
            name = laboratory.home(laboratory.owner(other)).name
            seen = role_towards(laboratory, person, other)
            assert (name in shown) == ("V" in rights(seen, other)), f"{person.name} sees {name}: {name in shown}"


def role_towards(laboratory: Laboratory, person: Person, level: str) -> Role:
    """Return what *person* is to the data of the group of *level*."""
    found = [role for role in Role if laboratory.people[role, level] == person]
    return found[0] if found else Role.STRANGER


def test_a_uid_that_is_no_experimenter_has_no_directory(laboratory: Laboratory) -> None:
    stranger = laboratory.people[Role.STRANGER, "private"]
    assert not [name for name in os.listdir(laboratory.mountpoint) if "stranger" in name]
    for name in os.listdir(laboratory.mountpoint):
        with pytest.raises(PermissionError):
            stranger.do(os.listdir, laboratory.mountpoint / name)
    assert laboratory.command("user", "list").count("stranger") == 0


# --- a name over another ---------------------------------------------------------------------------


OVER = {Role.OWNER, Role.GROUP_OWNER, Role.ADMINISTRATOR, Role.SUDO, Role.MEMBER, Role.ROOT}  # in a read-write group


@pytest.mark.parametrize("role", Role)
def test_a_name_over_another_removes_that(laboratory: Laboratory, role: Role) -> None:
    """It takes what renaming and removing take: an administrator with WriteOwned alone removes nothing so."""
    person, owner = laboratory.people[role, "read-write"], laboratory.owner("read-write")
    moved, other = (laboratory.home(owner) / "drops" / f"over-{role.name}-{name}" for name in ("moved", "other"))
    for path in (moved, other):
        owner.do(path.write_bytes, path.name.encode())
    exchanged = person.do(answer, rename2, moved, other, RENAME_EXCHANGE)
    assert exchanged == ("ok" if role in OVER | {Role.WRITE_OWNED} else "EACCES")
    assert person.do(answer, os.rename, moved, other) == ("ok" if role in OVER else "EACCES")
    assert other.exists()
    assert moved.exists() == (role not in OVER)


# --- bits and ACLs that somebody sets -------------------------------------------------------------


def _any_cell(laboratory: Laboratory, level: str, role: Role, act: Act) -> Cell:
    return next(
        cell
        for cell in laboratory.cells([COLD])
        if (cell.level, cell.role, cell.act) == (level, role, act) and cell.thing is Thing.DROP
    )


@pytest.mark.parametrize(
    "thing", [Thing.DROP, Thing.ORIGINAL, Thing.IN_PLACE, Thing.TABLE, Thing.TABLE_FILE, Thing.HOME]
)
def test_chmod_opens_nothing_to_others(laboratory: Laboratory, thing: Thing) -> None:
    """ "What chmod or a umask says of group and others is taken and has no effect." """
    path = _any_cell(laboratory, "private", Role.MEMBER, Act.CHMOD).objects.path(thing)
    owner, member = laboratory.owner("private"), laboratory.people[Role.MEMBER, "private"]
    owner.do(os.chmod, path, 0o777)
    with pytest.raises(PermissionError):
        member.do(os.open, path, os.O_RDONLY)
    with pytest.raises(PermissionError):
        member.do(os.getxattr, path, SECRET)


@pytest.mark.parametrize("thing", [Thing.DROP, Thing.ORIGINAL, Thing.TABLE, Thing.HOME])
def test_chmod_shuts_out_nobody_to_whom_the_level_gives_it(laboratory: Laboratory, thing: Thing) -> None:
    path = _any_cell(laboratory, "read-only", Role.MEMBER, Act.CHMOD).objects.path(thing)
    owner, member = laboratory.owner("read-only"), laboratory.people[Role.MEMBER, "read-only"]
    owner.do(os.chmod, path, 0o700)
    member.do(open_and_close, path)


def open_and_close(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


@pytest.mark.parametrize("entry", ["u:{uid}:rwx", "g:{gid}:rwx", "m::rwx", "o::rwx"])
@pytest.mark.parametrize("thing", [Thing.DROP, Thing.ORIGINAL, Thing.TABLE, Thing.HOME])
def test_setfacl_grants_no_more_than_the_level(laboratory: Laboratory, thing: Thing, entry: str) -> None:
    path = _any_cell(laboratory, "private", Role.MEMBER, Act.CHMOD).objects.path(thing)
    owner, member = laboratory.owner("private"), laboratory.people[Role.MEMBER, "private"]
    for person in (owner, ROOT):
        person.run("setfacl", "-m", entry.format(uid=member.uid, gid=member.gid), path, check=False)
        with pytest.raises(PermissionError):
            member.do(os.open, path, os.O_RDONLY)
        if thing is not Thing.HOME:
            with pytest.raises(PermissionError):
                member.do(os.stat, path)


def test_setfacl_for_a_person_answers_that_it_is_not_kept(laboratory: Laboratory) -> None:
    path = _any_cell(laboratory, "private", Role.MEMBER, Act.CHMOD).objects.drop
    member = laboratory.people[Role.MEMBER, "private"]
    done = laboratory.owner("private").run("setfacl", "-m", f"u:{member.uid}:rwx", path, check=False)
    assert done.returncode != 0
    assert "not supported" in done.stderr


def test_a_default_acl_is_inherited_by_nothing(laboratory: Laboratory) -> None:
    table = _any_cell(laboratory, "private", Role.MEMBER, Act.CHMOD).objects.table
    owner, member = laboratory.owner("private"), laboratory.people[Role.MEMBER, "private"]
    owner.run("setfacl", "-d", "-m", f"u:{member.uid}:rwx", table, check=False)
    owner.do((table / "later").write_bytes, b"later")
    with pytest.raises(PermissionError):
        member.do(os.open, table / "later", os.O_RDONLY)


def test_getfacl_shows_what_the_kernel_enforces(laboratory: Laboratory) -> None:
    path = _any_cell(laboratory, "read-annotate", Role.MEMBER, Act.STAT).objects.original
    member = laboratory.people[Role.MEMBER, "read-annotate"]
    shown = laboratory.owner("read-annotate").run("getfacl", "--numeric", "--absolute-names", path).stdout
    assert f"user:{member.uid}:rw" in shown  # w: may annotate
    assert "other::---" in shown


def test_the_mark_of_an_original_is_read_and_set_by_nobody(laboratory: Laboratory) -> None:
    path = _any_cell(laboratory, "read-write", Role.MEMBER, Act.STAT).objects.original
    for role in (Role.OWNER, Role.ROOT):
        person = laboratory.people[role, "read-write"]
        with pytest.raises(OSError):
            person.do(os.getxattr, path, "user.repofs.mark")
        with pytest.raises(OSError):
            person.do(os.setxattr, path, "user.repofs.mark", b"x")
        assert "user.repofs.mark" not in person.do(os.listxattr, path)
