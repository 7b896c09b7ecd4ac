"""Walks while names change, among what cannot be read; the report that fits into one attribute."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import trio

from repofs.errors import AccessDenied, InvalidValue, NotPermitted
from repofs.lifecycle import State
from repofs.model import Closed
from repofs.namespace.request import Caller
from repofs.people import Actor
from repofs.xattrs import ImportCommand
from tests.helpers.namespace import ALICE, World, people_of

pytestmark = pytest.mark.trio

LARGEST_VALUE = 65_536  # bytes of an attribute that the kernel passes on (XATTR_SIZE_MAX)


async def status(w: World, path: str = "", uid: int = 0) -> dict[str, object]:
    caller = Caller(uid, 0, os.getpid(), os.getegid())
    value = await w.facts.get(w.node(path), "status", caller)
    assert value is not None
    answer = json.loads(value)
    assert isinstance(answer, dict)
    return answer


async def test_a_report_counts_each_file_once(w: World) -> None:
    w.write("a.tif", b"12345")
    w.link("a.tif", "b.tif")
    w.write(".temporary", b"1")
    report = await w.survey.report(w.node(""), w.caller.uid)
    assert report.counts == {State.SETTLING: 1, State.INCOMPLETE: 1}
    assert report.sizes == {State.SETTLING: 5, State.INCOMPLETE: 1}
    assert report.summary() == "incomplete: 1 incomplete, 1 settling"


async def test_a_report_of_many_long_paths_fits_into_an_attribute(w: World) -> None:
    deep = "/".join(["ö" * 120] * 10)
    for number in range(1, 11):
        w.mkdir("/".join(["ö" * 120] * number))
    for number in range(120):
        w.path(f"{deep}/{number}.tif").write_bytes(b"left by a crash")
    value = await w.facts.get(w.node(""), "status", w.caller)
    assert value is not None and len(value) <= LARGEST_VALUE
    answer = json.loads(value)
    assert answer["counts"] == {"incomplete": 120}
    assert len(answer["problems"]) + answer["more"] == 120 and answer["problems"]


async def test_a_report_tells_nobody_of_what_she_may_not_see(w: World) -> None:
    w.path("secret.tif").write_bytes(b"left by a crash")
    assert (await w.survey.report(w.table.root, uid=4711)).summary() == "empty"
    with pytest.raises(AccessDenied, match="no experimenter"):
        await status(w, uid=4711)
    assert len((await status(w, uid=w.caller.uid))["problems"]) == 1  # type: ignore[arg-type]


async def test_names_that_are_no_text_are_reported(w: World) -> None:
    w.path("\udcff.tif").write_bytes(b"left by a crash")
    [problem] = (await status(w))["problems"]  # type: ignore[misc, attr-defined]
    assert os.fsencode(problem["path"]) == ALICE.encode() + b"/\xff.tif"


async def test_one_bad_entry_does_not_end_a_scan(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        w.path(f"{number}.tif").write_bytes(b"")
        w.write(f"good-{number}.tif")
    w.clocks.running.clear()
    w.forget_all()
    bad = {w.path("1.tif").stat().st_ino, w.path("good-2.tif").stat().st_ino}
    for node in list(w.node("").below()):
        if node.activity is not None:
            node.activity.settling = False
    read = w.marks.read

    def broken(target: int | bytes | str) -> object:
        if os.stat(target).st_ino in bad:
            raise OSError(5, "the disk is broken")
        return read(target)

    for node in list(w.node("").below()):
        node.mark = type(node)(1, 0, 0).mark
    monkeypatch.setattr(w.marks, "read", broken)
    w.journal.end_idle()
    held = [node for node in w.table.root.below() if node.users]
    await w.survey.scan(w.table.root)
    assert {w.node(f"good-{number}.tif").ino for number in (0, 1, 3)} <= set(w.clocks.running)
    report = await w.survey.report(w.table.root, w.caller.uid)
    assert report.counts[State.SETTLING] == 3
    assert [node for node in w.table.root.below() if node.users] == held, "what the journal holds"


async def test_a_walk_goes_on_while_names_change(w: World, autojump_clock: trio.testing.MockClock) -> None:
    for number in range(300):
        w.path(f"{number}.tif").write_bytes(b"")
    w.mkdir("dir")
    for number in range(100):
        w.path(f"dir/{number}.tif").write_bytes(b"")

    async def change() -> None:
        for number in range(0, 300, 2):
            w.path(f"{number}.tif").unlink()
            await trio.lowlevel.checkpoint()
        w.rename("dir", "moved")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        report = await w.survey.report(w.table.root, w.caller.uid)
    assert 250 <= report.counts[State.INCOMPLETE] <= 400
    w.forget_all()
    assert len(w.table) == 1


async def test_an_interrupted_walk_holds_nothing(w: World) -> None:
    for number in range(200):
        w.mkdir(f"{number}")
        w.path(f"{number}/scan.tif").write_bytes(b"")
    with trio.CancelScope() as scope:
        scope.cancel()
        await w.survey.report(w.table.root, w.caller.uid)
    w.forget_all()
    assert len(w.table) == 1


async def test_a_directory_moved_before_the_first_scan_is_done_is_looked_at(w: World) -> None:
    w.drops.surveyed = False
    w.mkdir("plain")
    w.rename("plain", "elsewhere")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(w.survey.run)
        w.path("elsewhere/scan.tif").write_bytes(b"x")
        status = w.path("elsewhere/scan.tif").stat()
        w.marks.write(os.fsencode(w.path("elsewhere/scan.tif")), Closed(status.st_size, status.st_mtime_ns))
        while not w.drops.surveyed:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert w.settles("elsewhere/scan.tif")


async def test_commands_reach_all_drops_below(w: World) -> None:
    w.mkdir("proj")
    w.mkdir("a.zarr")
    w.write("proj/scan.tif")
    w.write("proj/.temporary")
    for number in range(20):
        w.write(f"a.zarr/{number}")
    busy = w.create("proj/busy.tif")
    await w.survey.command(w.node(""), ImportCommand.NOW, 0)
    delays = {token: delay for token, (_, delay) in w.clocks.running.items()}
    assert delays == {w.node(path).ino: 0.0 for path in ("proj/scan.tif", "proj/.temporary", "a.zarr")}
    drop = w.claim("a.zarr")
    assert drop is not None and sum("told to import now" in event.text for event in drop.events) == 1
    w.close(busy)


async def test_a_policy_with_odd_patterns_harms_nobody(w: World) -> None:
    await w.facts.set(w.node(""), "policy", json.dumps({"exclude": ["\ud800*", "[é-ü]x*", "*.TXT"]}).encode(), w.caller)
    w.write("scan.tif")
    w.write("notes.txt")
    w.write("öx.tif")
    assert w.state("scan.tif") is State.SETTLING and w.settles("scan.tif")
    assert w.state("notes.txt") is State.INCOMPLETE
    assert w.state("öx.tif") is State.INCOMPLETE
    await w.survey.scan(w.table.root)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", b"[" * 60_000),
        ("policy", b'{"settle_seconds": ' + b"9" * 5000 + b"}"),
        ("policy", b"\xff"),
        ("target", b"Dataset:" + b"9" * 5000),
        ("target", "Dataset:²".encode()),
        ("import", b"later" * 10_000),
        ("\udcff", b""),
    ],
)
async def test_a_malformed_value_is_refused_with_a_reason(w: World, name: str, value: bytes) -> None:
    with pytest.raises(InvalidValue):
        await w.facts.set(w.node(""), name, value, w.caller)
    reason = await w.facts.get(w.node(""), "error", w.caller)
    assert reason and len(reason) < 5000


async def test_facts_are_kept_by_copies_and_refused_on_originals(w: World) -> None:
    w.write("copy.tif")
    await w.facts.set(w.node("copy.tif"), "fileset", b"Fileset:17", w.caller)
    w.write("scan.tif")
    w.imports("scan.tif")
    with pytest.raises(NotPermitted):
        await w.facts.set(w.node("scan.tif"), "fileset", b"Fileset:18", w.caller)
    assert await w.facts.get(w.node("scan.tif"), "fileset", w.caller) == b"Fileset:17"
    assert await w.facts.get(w.node("copy.tif"), "fileset", w.caller) is None
    listed = w.facts.listed(w.node("scan.tif"))
    assert b"user.repofs.checksum" in listed and b"user.repofs.import" not in listed


async def test_a_reason_does_not_pass_to_the_next_file_of_that_inode_number(w: World) -> None:
    node = w.write("one.tif")
    with pytest.raises(InvalidValue):
        await w.facts.set(node, "import", b"later", w.caller)
    w.unlink("one.tif")
    w.forget_all()
    for number in range(20):  # the file system gives the number again
        other = w.write(f"{number}.tif")
        assert await w.facts.get(other, "error", w.caller) is None


async def test_attributes_of_an_open_file_without_a_name(w: World) -> None:
    w.write("scan.tif")
    fh = w.open("scan.tif")
    node = w.node("scan.tif")
    w.unlink("scan.tif")
    assert await w.facts.get(node, "state", w.caller) is None
    assert w.facts.listed(node) == []
    w.close(fh)


async def test_objects_are_shown_to_who_may_view_them(w: World) -> None:
    root, mine = w.table.root, {"owner_uid": w.caller.uid, "owner_removed": None, "group_gid": os.getegid()}
    former = {**mine, "owner_uid": 4712, "owner_removed": "2026-11-22T12:00:00Z"}
    w.answers["Fileset:17"] = json.dumps({"object": "Fileset:17", **mine})
    w.answers["Fileset:16"] = json.dumps({"object": "Fileset:16", **former})
    people = people_of(w.caller.uid, os.getegid())
    heir = Actor(4712, "heir", frozenset({os.getegid()}))  # whom Unix has given the uid of a former experimenter
    await w.rights.adopt(replace(people, actors={**people.actors, 4712: heir}))
    assert await w.facts.get(root, "Fileset:16", Caller(4712, 0, 1, 4712)) is None
    assert await w.facts.get(root, "Fileset:17", w.caller) is not None
    assert await w.facts.get(root, "Fileset:17", Caller(4712, 0, 1, 4712)) is None
    assert await w.facts.get(root, "Fileset:18", w.caller) is None
    assert await w.facts.get(root, "Fileset:²", w.caller) is None
