"""The gate without a kernel: what it decides, what the kernel is told, and moving to another group."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.access import Act
from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, NotPermitted
from repofs.lifecycle import State
from repofs.model import PermissionLevel
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.namespace.nodes import UNKNOWN
from repofs.namespace.request import Caller, Change
from repofs.people import Actor, Home, People, Privilege
from repofs.repository.marks import ORIGINAL_BIT
from tests.helpers.namespace import ALICE, World, world

pytestmark = pytest.mark.trio

LAB, OTHER = 5000, 5001
OWNER, MEMBER, BOSS, STRANGER = 5101, 5102, 5103, 5104


def people(level: PermissionLevel = PermissionLevel.READ_WRITE) -> People:
    lab, both = frozenset({LAB}), frozenset({LAB, OTHER})
    actors = [Actor(OWNER, "alice", both), Actor(MEMBER, "bob", lab), Actor(BOSS, "boss", lab, owner_of=lab)]
    return People(
        {actor.uid: actor for actor in actors},
        {LAB: level, OTHER: PermissionLevel.PRIVATE},
        {ALICE.encode(): Home(OWNER, LAB, both)},
        {"lab": LAB, "other": OTHER},
    )


@pytest.fixture
async def w(tmp_path: Path) -> Iterator[World]:
    if os.geteuid() != 0:
        pytest.skip("only root can give files to several users: run the tests as root")
    with world(tmp_path) as made:
        await made.rights.adopt(people())
        made.caller = by(OWNER)
        yield made


def by(uid: int) -> Caller:
    return Caller(uid=uid, umask=0o022, task=os.getpid(), gid=os.getegid())


# --- what the kernel is told --------------------------------------------------------------------------


async def test_who_there_is_counts_once_the_kernel_has_been_told_of_everything_that_it_keeps(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    w.mkdir("proj")
    node = w.write("proj/scan.tif")
    w.kernel.told.clear()
    await w.rights.adopt(people(PermissionLevel.PRIVATE))
    assert {node.ino, w.node("proj").ino, w.node("").ino} <= w.kernel.told
    assert w.table.root.ino not in w.kernel.told  # it is everybody's, and not there before the mount answers
    w.kernel.told.clear()
    await w.rights.adopt(people(PermissionLevel.PRIVATE))
    assert not w.kernel.told


async def test_what_is_new_is_its_makers_and_the_directorys_groups(w: World) -> None:
    w.caller = by(BOSS)
    w.mkdir("proj")
    w.write("proj/scan.tif")
    for path in ("proj", "proj/scan.tif"):
        status = w.path(path).stat()
        assert (status.st_uid, status.st_gid) == (BOSS, LAB)
    assert w.facts._fact(w.node("proj/scan.tif"), "owner") == "alice"
    assert w.facts._fact(w.node("proj/scan.tif"), "actor") == "boss"


async def test_set_user_id_bits_are_not_kept(w: World) -> None:
    w.write("tool")
    w.change("tool", Change(mode=0o6755))
    assert stat.S_IMODE(w.path("tool").stat().st_mode) == 0o755
    w.close(w.create("born", 0o6755))
    assert stat.S_IMODE(w.path("born").stat().st_mode) & (stat.S_ISUID | stat.S_ISGID) == 0


async def test_the_bit_that_says_original_is_not_the_users_to_set_or_to_take_away(w: World) -> None:
    w.write("scan.tif")
    w.change("scan.tif", Change(mode=0o1644))
    assert not w.path("scan.tif").stat().st_mode & ORIGINAL_BIT
    w.path("scan.tif").chmod(0o644 | ORIGINAL_BIT)  # as the importer does
    w.change("scan.tif", Change(mode=0o600))
    assert stat.S_IMODE(w.path("scan.tif").stat().st_mode) == 0o600 | ORIGINAL_BIT


async def test_a_umask_takes_nothing_from_the_owner(w: World) -> None:
    w.caller = Caller(uid=OWNER, umask=0o777, task=os.getpid(), gid=os.getegid())
    w.close(w.create("scan.tif", 0))  # as the kernel hands it over
    w.seen(w.tree.mkdir(w.node(""), b"proj", 0, w.caller)[0])
    assert stat.S_IMODE(w.path("scan.tif").stat().st_mode) == 0o600
    assert stat.S_IMODE(w.path("proj").stat().st_mode) == 0o700


# --- what is asked for --------------------------------------------------------------------------------


@pytest.mark.parametrize("uid", [MEMBER, STRANGER])
async def test_nobody_else_makes_names_there_whatever_the_kernel_let_through(w: World, uid: int) -> None:
    w.write("scan.tif")
    names = set(os.listdir(w.path("")))
    for make in (
        lambda: w.handles.create(w.node(""), b"new", 0o644, os.O_WRONLY, by(uid)),
        lambda: w.tree.mkdir(w.node(""), b"new", 0o755, by(uid)),
        lambda: w.tree.symlink(w.node(""), b"new", b"scan.tif", by(uid)),
        lambda: w.tree.link(w.node("scan.tif"), w.node(""), b"new", by(uid)),
        lambda: w.handles.mknod(w.node(""), b"new", stat.S_IFIFO | 0o644, by(uid)),
        lambda: w.handles.open(w.node("scan.tif"), os.O_WRONLY, by(uid)),
        lambda: w.handles.setattr(w.node("scan.tif"), Change(size=0), None, by(uid)),
    ):
        with pytest.raises(AccessDenied):
            make()
    assert set(os.listdir(w.path(""))) == names
    assert w.path("scan.tif").stat().st_size == 5


async def test_a_stranger_gets_nothing_though_a_namespace_makes_her_root_to_the_kernel(w: World) -> None:
    w.write("scan.tif")
    os.chown(w.path("scan.tif"), STRANGER, -1)  # hers, as far as the kernel sees
    stranger = by(STRANGER)
    for act in (
        lambda: w.handles.open(w.node("scan.tif"), os.O_RDONLY, stranger),
        lambda: w.directories.open(w.node(""), stranger),
        lambda: w.handles.setattr(w.node("scan.tif"), Change(mode=0o777), None, stranger),
        lambda: w.handles.setattr(w.node("scan.tif"), Change(mtime_ns=1), None, stranger),
        lambda: w.tree.unlink(*w.place("scan.tif"), stranger),
        lambda: w.tree.rename(*w.place("scan.tif"), *w.place("new"), 0, stranger),
    ):
        with pytest.raises(AccessDenied, match="no experimenter"):
            act()


async def test_directories_of_repofs_itself_are_for_people_alone(w: World) -> None:
    own = w.seen(w.tree.lookup(w.table.root, b".repofs")[0])
    w.tree.look_up(own, b"log", by(MEMBER))
    with pytest.raises(AccessDenied):
        w.tree.look_up(own, b"log", by(STRANGER))
    with pytest.raises(AccessDenied):
        w.directories.open(own, by(STRANGER))


async def test_what_a_mount_lists_is_what_one_may_see(w: World) -> None:
    w.layout.make_user_directory("carol_9", 5200, OTHER)
    carol = Actor(5200, "carol", frozenset({OTHER}))
    now = people()
    await w.rights.adopt(
        replace(
            now,
            actors={**now.actors, 5200: carol},
            homes={**now.homes, b"carol_9": Home(5200, OTHER, frozenset({OTHER}))},
        )
    )
    listed = {uid: await listing(w, uid) for uid in (0, OWNER, MEMBER, 5200, STRANGER)}
    assert listed[0] == {ALICE, "carol_9"}
    assert listed[MEMBER] == {ALICE}
    assert listed[5200] == {"carol_9"}
    assert listed[STRANGER] == set()


async def listing(w: World, uid: int) -> set[str]:
    """Return the user directories that the root of the mount shows to *uid*."""
    fh = w.directories.open(w.table.root, by(uid))
    _, names = await w.directories.entries(fh, 0)
    shown = {os.fsdecode(name) for name in names if w.directories.lists(fh, *w.tree.lookup(w.table.root, name))}
    w.directories.close(fh)
    return shown - {".", "..", ".repofs"}


# --- chgrp --------------------------------------------------------------------------------------------


async def test_a_directory_moves_with_all_that_is_in_it(w: World, autojump_clock: trio.testing.MockClock) -> None:
    w.mkdir("proj")
    w.mkdir("proj/deep")
    w.write("proj/scan.tif")
    w.write("proj/deep/done.tif")
    w.original("proj/deep/done.tif")
    w.node("proj/deep/done.tif").mark = UNKNOWN
    await w.regrouping.chgrp(w.node("proj"), OTHER, w.caller)
    assert {w.path(path).stat().st_gid for path in ("proj", "proj/deep", "proj/scan.tif")} == {OTHER}
    assert w.moved == [([17], OTHER, OWNER, b"alice_2/proj")]
    assert w.path("").stat().st_gid != OTHER


async def test_a_drop_joins_the_group_of_the_directory_that_it_is_moved_to(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    w.mkdir("proj")
    await w.regrouping.chgrp(w.node("proj"), OTHER, w.caller)
    node = w.write("scan.tif")
    w.write("done.tif")
    w.original("done.tif")
    os.link(w.path("done.tif"), w.path("kept"))  # as in an import directory
    w.node("done.tif").mark = UNKNOWN
    w.kernel.told.clear()
    for name in ("scan.tif", "done.tif"):
        w.rename(name, f"proj/{name}")
    assert w.path("proj/scan.tif").stat().st_gid == OTHER
    assert w.kernel.told == {node.ino}
    assert w.path("proj/done.tif").stat().st_gid == LAB


async def test_a_drop_is_given_to_another_group_by_its_user_alone_as_by_chgrp(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    w.mkdir("proj")
    await w.regrouping.chgrp(w.node("proj"), OTHER, w.caller)
    w.write("scan.tif")
    w.write("proj/there.tif")
    both = frozenset({LAB, OTHER})
    boss = Actor(BOSS, "boss", both, owner_of=both)
    await w.rights.adopt(replace(people(), actors={**people().actors, BOSS: boss}))
    w.caller = by(BOSS)  # owns the groups: she may rename it, and not choose who sees it
    for old, new, flags in (
        ("scan.tif", "proj/scan.tif", 0),
        ("proj/there.tif", "there.tif", 0),
        ("scan.tif", "proj/there.tif", RENAME_EXCHANGE),
    ):
        with pytest.raises(OSError) as refused:
            w.rename(old, new, flags)
        assert refused.value.errno == errno.EXDEV
    assert w.path("scan.tif").stat().st_gid == LAB
    assert w.path("proj/there.tif").stat().st_gid == OTHER
    w.rename("scan.tif", "scan2.tif")
    w.caller = by(OWNER)
    w.rename("scan2.tif", "proj/there.tif", RENAME_EXCHANGE)
    assert w.path("scan2.tif").stat().st_gid == LAB
    assert w.path("proj/there.tif").stat().st_gid == OTHER


async def test_a_rename_with_flags_that_are_not_known_is_refused(w: World) -> None:
    w.write("scan.tif")
    with pytest.raises(OSError) as refused:
        w.rename("scan.tif", "other.tif", 1 << 2)  # RENAME_WHITEOUT
    assert refused.value.errno == errno.EINVAL
    assert w.path("scan.tif").exists()


async def test_what_is_refused_moves_nothing(w: World, autojump_clock: trio.testing.MockClock) -> None:
    w.mkdir("proj")
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    before = {path: w.path(path).stat().st_gid for path in ("", "proj", "a.zarr", "a.zarr/0")}
    now = people()
    alice = Actor(OWNER, "alice", frozenset({LAB}))
    for node, gid, caller, error in (
        (w.node(""), OTHER, w.caller, NotPermitted),  # the user directory itself
        (w.node("a.zarr/0"), OTHER, w.caller, NotPermitted),  # part of a fileset
        (w.node("proj"), OTHER, by(MEMBER), AccessDenied),
        (w.node("proj"), OTHER, by(BOSS), AccessDenied),
        (w.node("proj"), OTHER, by(STRANGER), AccessDenied),
    ):
        with pytest.raises(error):
            await w.regrouping.chgrp(node, gid, caller)
    await w.rights.adopt(
        replace(now, actors={**now.actors, OWNER: alice}, homes={ALICE.encode(): Home(OWNER, LAB, frozenset({LAB}))})
    )
    with pytest.raises(NotPermitted, match="add-member"):
        await w.regrouping.chgrp(w.node("proj"), OTHER, w.caller)
    await w.regrouping.chgrp(w.node("proj"), 4711, w.caller)  # no group of the repository: rsync -a means nothing by it
    assert {path: w.path(path).stat().st_gid for path in before} == before
    assert w.moved == []


async def test_an_import_under_way_is_waited_for_and_not_for_ever(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    w.mkdir("proj")
    w.write("proj/scan.tif")
    drop = w.claim("proj/scan.tif")
    assert drop is not None and drop.gid == LAB
    with pytest.raises(Busy, match="import"):
        await w.regrouping.chgrp(w.node("proj"), OTHER, w.caller)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(w.regrouping.chgrp, w.node("proj"), OTHER, w.caller)
        await trio.sleep(1)
        w.original("proj/scan.tif")
        w.imported(drop)
    assert w.moved == [([17], OTHER, OWNER, b"alice_2/proj")]


async def test_an_administrator_moves_others_data_by_an_attribute(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    now = people()
    light = Actor(5300, "light", administrator=True, privileges=frozenset({Privilege.CHGRP}))
    await w.rights.adopt(replace(now, actors={**now.actors, 5300: light}))
    w.mkdir("proj")
    for name in (b"other", b"nowhere"):  # who may not move it does not hear which groups there are
        with pytest.raises(AccessDenied):
            await w.facts.set(w.node("proj"), "group", name, by(MEMBER))
    assert w.node("proj").refusal is None
    with pytest.raises(AccessDenied):
        await w.facts.set(w.node("proj"), "target", b"Dataset:name:X", by(5300))
    with pytest.raises(InvalidValue):
        await w.facts.set(w.node("proj"), "group", b"", by(5300))
    with pytest.raises(NotFound, match="nowhere is no group"):
        await w.facts.set(w.node("proj"), "group", b"nowhere", by(5300))
    await w.facts.set(w.node("proj"), "group", b"other", by(5300))
    assert w.path("proj").stat().st_gid == OTHER
    assert w.moved == [([], OTHER, 5300, b"alice_2/proj")]


async def test_a_report_names_no_path_through_a_directory_that_its_reader_may_not_see(
    w: World, autojump_clock: trio.testing.MockClock
) -> None:
    w.mkdir("secret")
    await w.regrouping.chgrp(w.node("secret"), OTHER, w.caller)
    path = w.path("secret/seen.tif")
    path.write_bytes(b"left by a crash")
    os.chown(path, OWNER, LAB)
    theirs, hers = [await w.survey.report(w.table.root, uid) for uid in (MEMBER, OWNER)]
    assert theirs.counts == hers.counts == {State.INCOMPLETE: 1}
    assert (len(theirs.problems), theirs.more) == (0, 1)
    assert (len(hers.problems), hers.more) == (1, 0)


# --- the audit trail ----------------------------------------------------------------------------------


async def test_what_is_done_to_originals_and_to_what_is_anothers_is_told(w: World) -> None:
    told: list[tuple[int, str, str | None, bytes | None]] = []
    w.trail.done = lambda uid, act, target=None, path=None, **_: told.append((uid, act, target and str(target), path))  # type: ignore[method-assign]
    w.write("mine.tif")
    w.write("done.tif")
    w.original("done.tif")
    os.link(w.path("done.tif"), w.path("kept"))  # as in an import directory
    w.node("done.tif").mark = UNKNOWN
    w.unlink("mine.tif")
    assert told == []
    w.rename("done.tif", "renamed.tif")
    w.caller = by(BOSS)
    w.write("theirs.tif")
    w.unlink("theirs.tif")
    w.unlink("renamed.tif")
    assert told == [
        (OWNER, "rename", "Fileset:17", b"alice_2/done.tif"),
        (BOSS, "remove", None, b"alice_2/theirs.tif"),
        (BOSS, "remove", "Fileset:17", b"alice_2/renamed.tif"),
    ]


async def test_a_refusal_is_told_with_its_reason(w: World) -> None:
    told: list[tuple[int, str, str, bytes | None]] = []
    w.trail.refused = lambda uid, act, reason, target=None, path=None: told.append((uid, act, reason, path))  # type: ignore[method-assign]
    w.write("scan.tif")
    with pytest.raises(AccessDenied):
        w.rights.require(Act.CHOWN, w.node("scan.tif"), MEMBER)
    [(uid, act, reason, path)] = told
    assert (uid, act, path) == (MEMBER, "chown", b"alice_2/scan.tif")
    assert reason.startswith("bob may not give this away")
