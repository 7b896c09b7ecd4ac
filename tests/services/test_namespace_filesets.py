"""Several files that are one fileset: in any order, with pauses, with one that does not come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import config
from repofs.errors import Busy
from repofs.image import ALONE, Members
from repofs.lifecycle import State
from repofs.model import Drop, Outcome, Refused
from repofs.xattrs import ImportCommand
from tests.helpers.namespace import World, world

QUIET, JOINED, MISSING = 0.1, 0.3, 0.5  # seconds
SETTINGS = config.Settings(
    drops=config.Drops(settle_seconds=QUIET, directory_settle_seconds=JOINED, missing_seconds=MISSING)
)
SET = Members("a.ics", ("a.ics", "a.ids"))
FILES = {"a.ics": SET, "a.ids": SET}


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, SETTINGS) as made:
        yield made


def goes_off(w: World, path: str, says: dict[str, Members]) -> Drop | None:
    """Let the clock of *path* go off; a reader that is asked says what *says* has for it. Return what is imported."""
    drop = w.claim(path)
    if drop is None or (drop.members is not None and not drop.early):
        return drop
    told = says.get(path, ALONE)
    w.claims.outcome(Outcome(drop.token, State.SETTLING, members=told))
    return w.claim(path)


def all_go_off(w: World, says: dict[str, Members], *paths: str) -> list[Drop]:
    """Let the clocks of *paths* go off one after the other, each as often as it runs, for a while."""
    found = []
    until = time.monotonic() + 3 * MISSING
    while time.monotonic() < until and not found:
        for path in paths:
            if w.settles(path) and (drop := goes_off(w, path, says)) is not None:
                found.append(drop)
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("order", [("a.ics", "a.ids"), ("a.ids", "a.ics")])
def test_in_any_order(w: World, order: tuple[str, str]) -> None:
    w.write(order[0])
    time.sleep(QUIET)
    assert goes_off(w, order[0], FILES) is None
    time.sleep(QUIET)
    w.write(order[1])
    (drop,) = all_go_off(w, FILES, *order)
    assert drop.members == (b"a.ics", b"a.ids")
    assert (drop.path, drop.is_one_file, drop.refusal) == (b"a.ics", False, None)


def test_a_set_that_is_imported_is_sealed_whole_and_keeps_its_names(w: World) -> None:
    for name in FILES:
        w.write(name)
    (drop,) = all_go_off(w, FILES, *FILES)
    assert all(w.state(name) is State.IMPORTING and not w.settles(name) for name in FILES)
    for attempt in (lambda: w.rename("a.ids", "b.ids"), lambda: w.unlink("a.ids"), lambda: w.rename("b", "a.ids")):
        with pytest.raises((Busy, OSError)):
            attempt()
    for name in FILES:
        w.original(name)
    w.imported(drop)
    assert all(w.state(name) is State.IMPORTED for name in FILES)
    w.rename("a.ids", "b.ids")


def test_a_file_that_is_alone_is_imported_as_it_was(w: World) -> None:
    w.write("scan.tif")
    time.sleep(QUIET)
    drop = w.claim("scan.tif")
    assert drop is not None and drop.members is None and not drop.early


def test_what_waits_says_for_what_and_is_given_up_in_the_end(w: World) -> None:
    w.write("a.ics")
    time.sleep(QUIET)
    assert goes_off(w, "a.ics", FILES) is None
    assert w.standing.state(w.node("a.ics")) == (State.SETTLING, "waits: a.ids is missing in the fileset of a.ics")
    (drop,) = all_go_off(w, FILES, "a.ics")
    assert drop.members == (b"a.ics",)
    assert drop.refusal == (
        "a.ids is missing in the fileset of a.ics: put what is missing beside it, "
        "or set user.repofs.import=now to import what is there"
    )


def fail(w: World, path: str, drop: Drop) -> None:
    status = w.path(path).stat()
    mark = Refused(status.st_size, status.st_mtime_ns, State.FAILED, "a.ids is missing", "log")
    w.marks.write(os.fsencode(w.path(path)), mark)
    w.claims.outcome(Outcome(drop.token, State.FAILED, "a.ids is missing"))


def test_what_was_missing_takes_the_rest_with_it_when_it_comes(w: World) -> None:
    w.write("a.ics")
    (drop,) = all_go_off(w, FILES, "a.ics")
    fail(w, "a.ics", drop)
    assert w.state("a.ics") is State.FAILED
    w.write("a.ids")
    (drop,) = all_go_off(w, FILES, "a.ids", "a.ics")
    assert drop.members == (b"a.ics", b"a.ids") and drop.refusal is None


def test_a_policy_to_wait(w: World) -> None:
    w.standing.set_setting(w.node(""), b"policy", b'{"missing": "wait"}')
    w.write("a.ics")
    assert all_go_off(w, FILES, "a.ics") == []
    assert w.state("a.ics") is State.SETTLING
    w.write("a.ids")
    (drop,) = all_go_off(w, FILES, "a.ics", "a.ids")
    assert drop.members == (b"a.ics", b"a.ids")


def test_its_owner_may_insist(w: World) -> None:
    w.write("a.ics")
    w.drops.command(w.node("a.ics"), ImportCommand.NOW, 1000)
    drop = goes_off(w, "a.ics", FILES)
    assert drop is not None and (drop.members, drop.refusal) == ((b"a.ics",), None)


def test_a_retry_does_not_insist(w: World) -> None:
    w.write("a.ics")
    (drop,) = all_go_off(w, FILES, "a.ics")
    fail(w, "a.ics", drop)
    w.drops.command(w.node("a.ics"), ImportCommand.RETRY, 1000)
    (drop,) = all_go_off(w, FILES, "a.ics")
    assert drop.refusal is not None


def test_a_name_alone_proves_nothing(w: World) -> None:
    """A file that only looks like a part of a fileset stands alone when the others do not come."""
    says = {"a_w1.tif": Members("a.nd", ("a.nd", "a_w1.tif"), certain=False)}
    w.write("a_w1.tif")
    before = time.monotonic()
    (drop,) = all_go_off(w, says, "a_w1.tif")
    assert time.monotonic() - before >= JOINED
    assert (drop.members, drop.refusal) == ((b"a_w1.tif",), None)


def test_the_main_file_knows_best(w: World) -> None:
    """A file that its main one does not name stands alone."""
    says = {
        "a.nd": Members("a.nd", ("a.nd", "a_w1.tif")),
        "a_w1.tif": Members("a.nd", ("a.nd", "a_w1.tif"), certain=False),
        "a_w9.tif": Members("a.nd", ("a.nd", "a_w9.tif"), certain=False),
    }
    for name in reversed(says):
        w.write(name)
    drops = all_go_off(w, says, *reversed(says))
    drops += all_go_off(w, says, *(name for name in says if w.settles(name)))
    assert sorted(drop.members or () for drop in drops) == [(b"a.nd", b"a_w1.tif"), (b"a_w9.tif",)]


def test_a_main_file_is_asked_about_before_it_is_quiet_and_imported_after(tmp_path: Path) -> None:
    settings = config.Settings(drops=config.Drops(settle_seconds=1.0))
    with world(tmp_path, settings) as w:
        w.write("a.ics")
        assert w.clocks.running[w.node("a.ics").ino][1] == 0.5
        drop = w.claim("a.ics")
        assert drop is not None and drop.early
        w.claims.outcome(Outcome(drop.token, State.SETTLING, members=ALONE))
        assert w.claim("a.ics") is None
        time.sleep(1.0)
        drop = w.claim("a.ics")
        assert drop is not None and not drop.early and drop.members == (b"a.ics",)


def test_files_of_one_key_are_imported_when_no_more_of_them_come(w: World) -> None:
    says = {f"{n}.dcm": Members(f"{n}.dcm", (f"{n}.dcm",), key="dicom:1.2.3") for n in range(5)}
    for name in says:
        w.write(name)
        time.sleep(QUIET)
        assert goes_off(w, name, says) is None
    time.sleep(JOINED)
    drop = w.claim("3.dcm")
    assert drop is not None and drop.members == tuple(name.encode() for name in says)
    assert drop.path == b"0.dcm" and drop.token == w.node("3.dcm").ino


def test_a_file_that_is_written_again_is_asked_about_again(w: World) -> None:
    w.write("a.ids")
    time.sleep(QUIET)
    goes_off(w, "a.ids", FILES)
    activity = w.node("a.ids").activity
    assert activity is not None and activity.members == SET
    fh = w.open("a.ids", os.O_WRONLY)
    w.handles.write(fh, 0, b"other bytes")
    w.close(fh)
    assert activity.members is None


def test_a_part_that_is_being_written_holds_the_set(w: World) -> None:
    w.write("a.ics")
    fh = w.create("a.ids")
    w.handles.write(fh, 0, b"slowly")
    assert all_go_off(w, FILES, "a.ics") == []
    assert w.state("a.ics") is State.SETTLING
    w.close(fh)
    (drop,) = all_go_off(w, FILES, "a.ics", "a.ids")
    assert drop.members == (b"a.ics", b"a.ids")


def test_files_below_the_main_one(w: World) -> None:
    says = {"a.vsi": Members("a.vsi", ("a.vsi", "_a_/stack1/frame_t.ets"))}
    w.mkdir("_a_")
    w.mkdir("_a_/stack1")
    w.write("_a_/stack1/frame_t.ets")
    w.write("a.vsi")
    (drop,) = all_go_off(w, says, "a.vsi")
    assert drop.members == (b"a.vsi", b"_a_/stack1/frame_t.ets")


def test_what_was_imported_before_is_missing(w: World) -> None:
    w.write("a.ids")
    time.sleep(QUIET)
    goes_off(w, "a.ids", {})
    drop = w.claim("a.ids")
    assert drop is None
    w.original("a.ids")
    w.claims.outcome(Outcome(w.node("a.ids").ino, State.IMPORTED))
    w.write("a.ics")
    (drop,) = all_go_off(w, FILES, "a.ics")
    assert drop.refusal is not None


def test_a_file_that_cannot_know_waits_for_who_names_it(w: World) -> None:
    """A TIFF says nothing of the pattern that names it."""
    names = ("z.pattern", "p0.tif", "p1.tif")
    says = {"z.pattern": Members("z.pattern", names)}
    for name in ("p0.tif", "p1.tif", "z.pattern"):
        w.write(name)
    assert goes_off(w, "z.pattern", says) is None  # early: before the others are quiet
    (drop,) = all_go_off(w, {}, *names)
    assert drop.members == (b"z.pattern", b"p0.tif", b"p1.tif")


def test_a_main_file_is_asked_again_when_more_has_come(w: World) -> None:
    """It can only guess how a file is called that is not there yet."""
    guess = Members("a.nd", ("a.nd", "a_w1.stk"))
    plane = Members("a.nd", ("a.nd", "a_w1.tif"), certain=False)
    w.write("a.nd")
    time.sleep(QUIET)
    assert goes_off(w, "a.nd", {"a.nd": guess}) is None
    w.write("a_w1.tif")
    says = {"a.nd": Members("a.nd", ("a.nd", "a_w1.tif")), "a_w1.tif": plane}
    (drop,) = all_go_off(w, says, "a.nd", "a_w1.tif")
    assert drop.members == (b"a.nd", b"a_w1.tif")


def test_thousands_that_wait_for_one_do_not_all_look_at_each_other(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in order is missing: found last by who looks at all."""
    names = tuple(f"p{number:03}.tif" for number in range(200))
    here = names[:1] + names[2:]
    says = {name: Members(names[0], names) for name in names}
    for name in here:
        w.write(name)
    time.sleep(QUIET)
    looks: list[bytes] = []
    find = w.filesets._find
    monkeypatch.setattr(w.filesets, "_find", lambda above, name: looks.append(name) or find(above, name))
    for name in here:
        if w.settles(name):
            assert goes_off(w, name, says) is None
    assert len(looks) < 10 * len(names)
    assert w.standing.state(w.node(names[5])) == (
        State.SETTLING,
        f"waits: {names[1]} is missing in the fileset of p000.tif",
    )
    lists = {id(node.activity.members) for node in map(w.node, here) if node.activity and node.activity.members}
    assert len(lists) <= 2


def test_thousands_that_are_missing_are_given_up_in_one_look(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a.ics", *(f"p{number:04}.tif" for number in range(2000)))
    w.write("a.ics")
    time.sleep(QUIET)
    assert goes_off(w, "a.ics", {"a.ics": Members("a.ics", names)}) is None
    time.sleep(MISSING)
    looks: list[bytes] = []
    came = w.filesets._came
    monkeypatch.setattr(w.filesets, "_came", lambda above, name: looks.append(name) or came(above, name))
    drop = w.claim("a.ics")
    assert drop is not None and drop.refusal is not None and len(looks) == len(names)
    assert drop.refusal.startswith("p0000.tif, p0001.tif, p0002.tif and 1997 more are missing")


def test_a_file_that_is_excluded_by_its_name_is_part_of_what_names_it(w: World) -> None:
    w.standing.set_setting(w.node(""), b"policy", b'{"exclude": ["*.ids"]}')
    w.write("a.ics")
    w.write("a.ids")
    (drop,) = all_go_off(w, FILES, "a.ics")
    assert drop.members == (b"a.ics", b"a.ids")


def test_who_waits_for_a_writer_says_so(w: World) -> None:
    w.write("a.ics")
    fh = w.create("a.ids")
    time.sleep(QUIET)
    assert goes_off(w, "a.ics", FILES) is None
    assert w.standing.state(w.node("a.ics")) == (State.SETTLING, "waits: a.ids is being written")
    w.close(fh)


OIF = ("a.oif", "a.oif.files/p1.tif", "a.oif.files/p2.tif")


def test_planes_in_a_folder_wait_for_the_file_that_it_is_called_after(w: World) -> None:
    """They cannot name it: it lies above them."""
    w.mkdir("a.oif.files")
    for name in OIF[1:]:
        w.write(name)
    time.sleep(QUIET)
    assert [w.claim(name) for name in OIF[1:]] == [None, None]
    assert w.standing.state(w.node(OIF[1])) == (
        State.SETTLING,
        "waits: a.oif, the main file of its fileset, is missing",
    )
    w.write("a.oif")
    (drop,) = all_go_off(w, {"a.oif": Members("a.oif", OIF)}, *OIF)
    assert drop.members == tuple(map(os.fsencode, OIF))
    with pytest.raises(Busy):
        w.rename("a.oif.files", "elsewhere")
    w.imported(drop)
    w.rename("a.oif.files", "elsewhere")


@pytest.mark.parametrize("insists", [False, True])
def test_a_plane_in_a_folder_whose_main_file_does_not_come(w: World, insists: bool) -> None:
    w.mkdir("_a_")
    w.mkdir("_a_/stack1")
    w.write("_a_/stack1/frame_t_0.ets")
    if insists:
        w.drops.command(w.node("_a_/stack1/frame_t_0.ets"), ImportCommand.NOW, 1000)
    (drop,) = all_go_off(w, {}, "_a_/stack1/frame_t_0.ets")
    assert (drop.path, drop.members) == (b"_a_/stack1/frame_t_0.ets", (b"frame_t_0.ets",))
    assert (drop.refusal is None) == insists
    assert insists or str(drop.refusal).startswith("a.vsi, the main file of its fileset, is missing")


def test_a_folder_that_grew_since_its_main_file_was_asked_is_asked_about_again(w: World) -> None:
    first, second = "_a_/stack1/frame_t_0.ets", "_a_/stack2/frame_t_0.ets"
    for name in ("_a_", "_a_/stack1", "_a_/stack2"):
        w.mkdir(name)
    w.write("a.vsi")
    time.sleep(QUIET)
    assert goes_off(w, "a.vsi", {"a.vsi": Members("a.vsi", ("a.vsi", first), certain=False)}) is None
    w.write(first)
    w.write(second)
    says = {"a.vsi": Members("a.vsi", ("a.vsi", first, second))}
    time.sleep(QUIET)
    assert goes_off(w, first, says) is None
    (drop,) = all_go_off(w, says, "a.vsi", second, first)
    assert drop.members == tuple(map(os.fsencode, says["a.vsi"].names))


def test_who_follows_a_main_file_waits_until_that_was_asked(w: World) -> None:
    """It names itself and the main file, which may name more."""
    three = ("a.ics", "b.ids", "c.ids")
    says = {name: Members("a.ics", ("a.ics", name)) for name in three[1:]} | {"a.ics": Members("a.ics", three)}
    for name in three:
        w.write(name)
    time.sleep(QUIET)
    assert goes_off(w, "b.ids", says) is None
    (drop,) = all_go_off(w, says, *reversed(three))
    assert drop.members == tuple(map(os.fsencode, three))


def test_a_part_that_has_another_name_elsewhere(w: World) -> None:
    w.mkdir("other")
    w.write("other/x.ids")
    w.link("other/x.ids", "a.ids")
    w.write("a.ics")
    (drop,) = all_go_off(w, FILES, "a.ics")
    assert (drop.path, drop.members) == (b"a.ics", (b"a.ics", b"a.ids"))
    with pytest.raises(Busy):
        w.unlink("a.ids")
