"""What is removed in an import directory is remembered, until the whole fileset goes or none of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from repofs.errors import AccessDenied, Busy, NotFound, NotPermitted
from repofs.namespace import deleting
from repofs.namespace.deleting import Deleting
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from tests.helpers.namespace import ALICE, World, world

pytestmark = pytest.mark.trio

OTHER = Caller(uid=61099, umask=0o022, task=os.getpid(), gid=61099)


class Removing:
    """Deleting over a world of one imported file, with an importer that moves what it is told to delete."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.asked: list[tuple[int, int]] = []
        self.forgotten: list[tuple[int, bytes]] = []
        self.changes = 0
        self.refusal: Exception | None = None
        self.seconds = 0.0  # that it takes
        self.deleting = Deleting(w.standing, w.rights, w.tree, self, self._delete, self._changed)
        w.write("scan.tif")
        w.imports("scan.tif")
        self.directory = w.path("2026-11/22/12-00-00.000")  # as the mark says
        self.directory.mkdir(parents=True)
        os.link(w.path("scan.tif"), self.directory / "scan.tif")
        self.told = trio.Event()

    def names_gone(self, names: Sequence[tuple[int, bytes]]) -> None:
        self.forgotten += names
        if names:
            trio.from_thread.run_sync(self.told.set)

    async def _delete(self, fileset: int, uid: int) -> str:
        self.asked.append((fileset, uid))
        await trio.sleep(self.seconds)
        if self.refusal is not None:
            raise self.refusal
        self.directory.rename(self.w.layout.trash / "files")
        self.w.path("scan.tif").unlink()
        below = self.directory.relative_to(self.w.layout.managed)
        return json.dumps({"gone": [str(below), f"{below}.log", f"{ALICE}/scan.tif"]})

    def _changed(self) -> None:
        self.changes += 1

    @property
    def node(self) -> Node:
        return self.w.node(str(self.directory.relative_to(self.w.path("."))))

    def unlink(self, caller: Caller | None = None) -> None:
        self.deleting.unlink(self.node, b"scan.tif", caller or self.w.caller)

    async def rmdir(self, caller: Caller | None = None) -> None:
        node = self.node
        await self.deleting.rmdir(*node.names[0], caller or self.w.caller)


@pytest.fixture
def r(tmp_path: Path) -> Iterator[Removing]:
    with world(tmp_path) as w:
        w.layout.make_hidden()
        yield Removing(w)


async def test_the_rmdir_deletes_what_was_removed_whole(r: Removing, nursery: trio.Nursery) -> None:
    nursery.start_soon(r.deleting.run)
    dropped = r.w.node("scan.tif")
    parent = r.node
    r.unlink()
    assert r.deleting.hides(parent, b"scan.tif", r.w.caller.uid)
    assert not r.deleting.hides(parent, b"scan.tif", OTHER.uid)
    await r.rmdir()
    assert len(r.asked) == 1 and r.changes == 1
    assert dropped.names == [] and dropped.removed
    assert not r.deleting.hides(parent, b"scan.tif", r.w.caller.uid)
    with trio.fail_after(10):
        await r.told.wait()
    assert [name for _, name in r.forgotten] == [
        os.fsencode(r.directory.name), os.fsencode(r.directory.name) + b".log", b"scan.tif",
    ]  # fmt: skip


async def test_without_an_rmdir_the_last_name_deletes_it(
    r: Removing, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    nursery.start_soon(r.deleting.run)
    r.unlink()
    await trio.sleep(deleting.QUIET_SECONDS / 2)
    assert r.asked == []
    await trio.sleep(deleting.QUIET_SECONDS)
    assert len(r.asked) == 1


@pytest.mark.parametrize("refusal", [None, Busy("the catalogue is not ready yet")])
async def test_an_rmdir_that_comes_late_waits_for_how_it_ends(
    r: Removing, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, refusal: Exception | None
) -> None:
    r.seconds, r.refusal = 5.0, refusal
    nursery.start_soon(r.deleting.run)
    r.unlink()
    await trio.sleep(deleting.QUIET_SECONDS + 1)
    assert len(r.asked) == 1
    if refusal is None:
        await r.rmdir()
    else:
        with pytest.raises(Busy, match="could not be deleted just now"):
            await r.rmdir()
    assert len(r.asked) == 1 and r.directory.exists() is (refusal is not None)


async def test_what_is_removed_in_part_is_back_after_a_while(
    r: Removing, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    nursery.start_soon(r.deleting.run)
    (r.directory / "second.tif").write_bytes(b"stays")
    parent = r.node
    r.unlink()
    with pytest.raises(OSError, match="not all in it was removed"):
        await r.rmdir()
    await trio.sleep(deleting.PATIENCE_SECONDS - 1)
    assert r.deleting.hides(parent, b"scan.tif", r.w.caller.uid)
    await trio.sleep(2)
    assert not r.deleting.hides(parent, b"scan.tif", r.w.caller.uid)
    assert r.asked == []
    with pytest.raises(NotPermitted, match="rm -r, or repofs delete"):
        await r.rmdir()


async def test_an_rmdir_says_that_it_cannot_be_deleted_now(r: Removing) -> None:
    r.refusal = Busy("the catalogue is not ready yet")
    r.unlink()
    with pytest.raises(Busy):
        await r.rmdir()
    assert not r.deleting.hides(r.node, b"scan.tif", r.w.caller.uid)
    assert r.w.tree.lookup(r.node, b"scan.tif")


async def test_a_deletion_that_fails_later_is_logged_and_the_names_are_back(
    r: Removing, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    nursery.start_soon(r.deleting.run)
    r.refusal = Busy("the catalogue is not ready yet")
    r.unlink()
    await trio.sleep(2 * deleting.QUIET_SECONDS)
    assert len(r.asked) == 1
    assert not r.deleting.hides(r.node, b"scan.tif", r.w.caller.uid)
    r.refusal = None
    r.unlink()
    await r.rmdir()


async def test_what_was_deleted_by_another_way_is_none_to_warn_of(
    r: Removing, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    nursery.start_soon(r.deleting.run)
    r.refusal = NotFound("there is no Fileset:1")
    r.unlink()
    await trio.sleep(2 * deleting.QUIET_SECONDS)
    assert len(r.asked) == 1
    assert "warning" not in capsys.readouterr().out


async def test_another_has_no_part_in_it(r: Removing) -> None:
    r.unlink()
    with pytest.raises(AccessDenied, match="may not delete this"):
        r.unlink(OTHER)
    with pytest.raises(NotPermitted):
        await r.rmdir(OTHER)
    assert r.asked == []


async def test_what_a_command_has_deleted_is_forgotten_with_what_is_below(r: Removing) -> None:
    node, dropped = r.node, r.w.node("scan.tif")
    inside = r.w.node(str((r.directory / "scan.tif").relative_to(r.w.path("."))))
    assert inside is dropped
    told = json.loads(await r._delete(1, r.w.caller.uid))
    await r.deleting.gone([os.fsencode(name) for name in told["gone"]])
    assert node.names == [] == inside.names
    assert len(r.forgotten) == 3 and r.changes == 1
    await r.deleting.gone([b"nobody_9/x"])  # which nobody has looked up
    assert len(r.forgotten) == 3
