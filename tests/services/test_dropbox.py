"""Watched folders: each file that is quiet is imported once, none is missed, and what is wrong with one is its own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import pytest
import trio

from repofs import mounts
from repofs.errors import AccessDenied
from repofs.importer.dropbox import feed, watch
from repofs.lifecycle import State
from repofs.model import Arrival, Arrived, Duplicates
from repofs.people import Actor, Home, People
from tests.helpers.dropbox import GID, UID, Site, people, site

pytestmark = pytest.mark.trio


@pytest.fixture(autouse=True, params=["events", "scans"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test is run where events tell of changes, and where nothing does."""
    monkeypatch.setattr(mounts, "is_local", lambda _fd: request.param == "events")
    return str(request.param)


@pytest.fixture
def here() -> Iterator[Site]:
    with site() as made:
        yield made


async def looked_at(here: Site) -> None:
    """Return when all that would be offered by now has been: a file that came later has been imported, twice."""
    for _ in range(2):
        sign = here.home / "sign.bin"
        sign.write_bytes(os.urandom(8))
        await here.until(lambda: b"alice/sign.bin" in here.imported, "the import of a new file")
        sign.unlink()
        await here.until(lambda: "sign.bin" not in here.states(), "its end")
        here.imported.remove(b"alice/sign.bin")
        here.offered = [one for one in here.offered if one.path != b"alice/sign.bin"]


# --- what comes in --------------------------------------------------------------------------------


async def test_what_is_there_and_what_comes_is_imported_for_its_user(here: Site) -> None:
    here.write("a.tif")
    async with here.watched():
        await here.until_states(a_tif="imported")
        here.write("ProjectX/DatasetY/b.tif")
        await here.until(lambda: len(here.imported) == 2, "the second import")
    first, second = here.offered
    assert (first.user_directory, first.source, first.path) == (b"alice_2", "scope", b"alice/a.tif")
    assert (first.actor_uid, first.actor, first.gid, first.transfer) == (UID, "alice", GID, "upload")
    assert (first.target, first.is_directory, first.duplicates) == (None, False, Duplicates.IMPORT)
    assert (second.path, second.target) == (
        b"alice/ProjectX/DatasetY/b.tif",
        "Project:name:ProjectX/Dataset:name:DatasetY",
    )


async def test_what_is_moved_in_is_imported_with_all_that_is_below(here: Site) -> None:
    async with here.watched():
        elsewhere = here.place / "elsewhere"
        (elsewhere / "deep").mkdir(parents=True)
        (elsewhere / "deep" / "a.tif").write_bytes(b"a")
        (elsewhere / "b.tif").write_bytes(b"b")
        elsewhere.rename(here.home / "set")
        await here.until(lambda: len(here.imported) == 2, "two imports")
        (here.home / "set" / "deep" / "c.tif").write_bytes(b"c")
        await here.until(lambda: here.states().get("set/deep/c.tif") == "imported", "a third import")


async def test_names_are_bytes(here: Site) -> None:
    name = b"a\xff\nb.tif"
    here.write(os.fsdecode(name))
    async with here.watched():
        await here.until(lambda: here.imported == [b"alice/" + name], "its import")


async def test_a_directory_format_is_one_fileset(here: Site) -> None:
    here.write("scan.zarr/0/0.0")
    here.write("scan.zarr/.zattrs")
    async with here.watched():
        await here.until_states(scan_zarr="imported")
    [arrival] = here.offered
    assert (arrival.path, arrival.is_directory) == (b"alice/scan.zarr", True)


async def test_what_is_excluded_temporary_or_a_table_is_left_alone() -> None:
    with site(include=("*.tif", "*.zarr"), exclude=("*_mosaic*",)) as here:
        for name in ("a.txt", "a_mosaic.tif", "a.tif.part", ".DS_Store", "t.tiledb/b.tif", "raw_mosaic/c.tif"):
            here.write(name)
        here.write("good.tif")
        async with here.watched():
            await here.until_states(good_tif="imported")
            sign = here.write("later.tif")
            await here.until(lambda: here.states().pop("later.tif", None) == "imported", "a later one")
            sign.unlink()
            (here.home / "a.tif.part").rename(here.home / "a.tif")
            await here.until_states(good_tif="imported", a_tif="imported")
        assert sorted(here.imported) == [b"alice/a.tif", b"alice/good.tif", b"alice/later.tif"]


async def test_files_wait_for_the_marker_beside_or_above_them() -> None:
    with site(marker="DONE") as here:
        here.write("run1/a.tif")
        here.write("run1/deep/b.tif")
        here.write("run2/c.tif")
        here.write("run2/DONE", b"")
        async with here.watched():
            await here.until(lambda: here.imported == [b"alice/run2/c.tif"], "the import of what is complete")
            here.write("run2/d.tif")
            await here.until(lambda: b"alice/run2/d.tif" in here.imported, "and of what comes later")
            assert len(here.offered) == 2
            here.write("run1/DONE", b"")
            await here.until(lambda: len(here.imported) == 4, "the import of the others")
        assert sorted(here.imported)[:2] == [b"alice/run1/a.tif", b"alice/run1/deep/b.tif"]


async def test_the_group_of_the_settings_is_that_of_the_imports(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    here.keys["group"] = "other"
    here.write("a.tif")
    async with here.watched():
        await here.until(lambda: "other is no group" in capsys.readouterr().out, "a word in the log")
        assert here.offered == []
        here.people = People(people().actors, people().levels, people().homes, {"other": 4711})
        await here.until_states(a_tif="failed")
        assert "is not a group that its owner is in" in (here.files()["a.tif"].error or "")
        groups = frozenset({GID, 4711})
        alice, home = Actor(UID, "alice", groups), Home(UID, GID, groups)
        here.people = People({UID: alice}, people().levels, {b"alice_2": home}, {"other": 4711})
        os.utime(here.home / "a.tif")
        await here.until_states(a_tif="imported")
    assert here.offered[0].gid == 4711


async def test_a_name_that_is_no_users_is_ignored_until_it_is(here: Site) -> None:
    (here.folder / "bob").mkdir()
    (here.folder / "bob" / "a.tif").write_bytes(b"pixels")
    async with here.watched():
        await looked_at(here)
        assert here.offered == []
        uid = UID if os.geteuid() else 61002
        groups = frozenset({GID})
        here.people = People({uid: Actor(uid, "bob", groups)}, {}, {b"bob_3": Home(uid, GID, groups)})
        await here.until(lambda: here.imported == [b"bob/a.tif"], "bob's import")


# --- when -----------------------------------------------------------------------------------------


async def test_a_file_that_grows_or_is_open_for_writing_waits(here: Site) -> None:
    async with here.watched():
        file = os.open(here.home / "a.tif", os.O_WRONLY | os.O_CREAT, 0o644)
        for _ in range(10):
            os.write(file, b"more")
            await trio.sleep(0.05)
        await looked_at(here)
        assert here.offered == []
        os.close(file)
        await here.until_states(a_tif="imported")
    assert len(here.offered) == 1


async def test_one_that_is_written_while_it_is_imported_waits_and_comes_again(here: Site) -> None:
    here.answers[b"a.tif"] = Arrived(State.SETTLING)
    here.write("a.tif")
    async with here.watched():
        await here.until(lambda: len(here.offered) >= 2, "another try")
        assert here.imported == []
        here.answers.clear()
        await here.until_states(a_tif="imported")
    assert here.imported == [b"alice/a.tif"]


async def test_first_come_first_served_and_not_all_at_once(here: Site) -> None:
    gate, running, most = trio.Event(), 0, 0

    async def let(_arrival: Arrival) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    here.let = let
    async with here.watched():
        here.write("first.tif")
        await here.until(lambda: len(here.offered) == 1, "the first offer")
        for number in range(2 * feed.IN_HAND):
            here.write(f"{number:03}.tif")
        await here.until(lambda: len(here.offered) == feed.IN_HAND and len(here.states()) > feed.IN_HAND, "a queue")
        gate.set()
        await here.until(lambda: len(here.imported) == 2 * feed.IN_HAND + 1, "all imports")
    assert most == feed.IN_HAND


# --- once each ------------------------------------------------------------------------------------


async def test_what_was_imported_is_not_imported_again(here: Site) -> None:
    paths = [here.write(f"{number}.tif", b"%d" % number) for number in range(3)]
    async with here.watched():
        await here.until(lambda: len(here.imported) == 3, "three imports")
        paths[0].chmod(0o646)
        here.home.chmod(0o777)
        await looked_at(here)
    async with here.watched():  # a restart
        await looked_at(here)
    assert sorted(here.imported) == [b"alice/0.tif", b"alice/1.tif", b"alice/2.tif"]


async def test_one_that_was_changed_is_imported_anew(here: Site, way: str) -> None:
    here.write("a.tif", b"first")
    async with here.watched():
        await here.until_states(a_tif="imported")
        here.write("a.tif", b"second")
        await here.until(lambda: len(here.imported) == 2, "a second import")
        replacement = here.place / "a.tif"
        replacement.write_bytes(b"third!")
        os.utime(replacement, ns=(0, (here.home / "a.tif").stat().st_mtime_ns))
        replacement.rename(here.home / "a.tif")
        if way == "events":  # elsewhere size and mtime are all that there is
            await here.until(lambda: len(here.imported) == 3, "a third import")


@pytest.mark.parametrize("way", ["events"], indirect=True)  # without inode numbers a renamed file is a new one
async def test_one_that_was_renamed_is_the_one_that_was_imported(here: Site) -> None:
    path = here.write("a.tif")
    async with here.watched():
        await here.until_states(a_tif="imported")
        (here.home / "sub").mkdir()
        path.rename(here.home / "sub" / "b.tif")
        await here.until(lambda: here.states() == {"sub/b.tif": "imported"}, "its new name")
    assert here.imported == [b"alice/a.tif"]


async def test_what_its_user_has_removed_is_forgotten_with_whole_directories(here: Site) -> None:
    path = here.write("set/deep/a.tif")
    here.write("b.tif")
    async with here.watched():
        await here.until(lambda: len(here.imported) == 2, "two imports")
        path.unlink()
        path.parent.rmdir()
        path.parent.parent.rmdir()
        await here.until_states(b_tif="imported")


async def test_sources_that_the_import_removes_are_forgotten(here: Site) -> None:
    here.keys["transfer"] = "upload_rm"
    here.write("a.tif")
    async with here.watched():
        await here.until(lambda: here.imported and not here.states(), "an import and nothing known of it")
    assert os.listdir(here.home) == []


async def test_what_was_in_hand_at_a_crash_is_offered_again_and_imported_once(here: Site) -> None:
    async def never(_arrival: Arrival) -> None:
        await trio.sleep_forever()

    here.let = never
    here.write("a.tif")
    async with here.watched():
        await here.until(lambda: here.offered, "an offer")
    assert here.states() == {"a.tif": "queued"}
    here.let = None
    async with here.watched():
        await here.until_states(a_tif="imported")
    assert here.imported == [b"alice/a.tif"]


@pytest.mark.parametrize("name", ["a.tif", "a.zarr/0/0"])
async def test_what_was_imported_when_the_process_died_is_known_by_its_origin(here: Site, name: str) -> None:
    async def imported_then_dead(arrival: Arrival) -> None:
        here._import(arrival)
        await trio.sleep_forever()

    here.let = imported_then_dead
    here.write(name)
    async with here.watched():
        await here.until(lambda: here.imported, "an import")
    assert list(here.states().values()) == ["queued"]
    here.let = None
    async with here.watched():
        await here.until(lambda: list(here.states().values()) == ["imported"], "what became of it")
        await looked_at(here)
    assert len(here.imported) == 1


async def test_a_share_that_is_away_for_a_while_loses_and_doubles_nothing(
    here: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its empty mountpoint is there in its place."""
    here.write("sub/a.tif")
    away = here.place / "away"
    async with here.watched():
        await here.until(lambda: here.states() == {"sub/a.tif": "imported"}, "an import")
        here.folder.rename(away)
        here.folder.mkdir()
        (away / "alice" / "sub" / "b.tif").write_bytes(b"came from elsewhere")
        await here.until(lambda: not here.states(), "nothing there")
        here.folder.rmdir()
        await here.until(
            lambda: "is not a directory: make it, or mount it" in capsys.readouterr().out, "a word in the log"
        )
        away.rename(here.folder)
        await here.until(lambda: here.states() == {"sub/a.tif": "imported", "sub/b.tif": "imported"}, "all known again")
    assert here.imported == [b"alice/sub/a.tif", b"alice/sub/b.tif"]


# --- what cannot be imported ----------------------------------------------------------------------


async def test_one_that_fails_is_tried_again_when_it_changes_and_not_before(here: Site) -> None:
    here.answers[b"a.tif"] = Arrived(State.FAILED, "the reason")
    path = here.write("a.tif")
    async with here.watched():
        await here.until_states(a_tif="failed")
        assert here.files()["a.tif"].error == "the reason"
        await looked_at(here)
        assert len(here.offered) == 1
        here.answers.clear()
        path.chmod(0o646)
        await here.until(lambda: here.states().get("a.tif") == "imported", "the import of what was changed")


async def test_a_link_that_an_attempt_has_made_is_no_change(here: Site) -> None:
    """It changes the ctime of the source, and would bring the next attempt for ever."""

    async def link(arrival: Arrival) -> None:
        if not arrival.path.endswith(b"a.tif"):
            return
        os.link(here.folder / os.fsdecode(arrival.path), here.place / "link")
        os.unlink(here.place / "link")

    here.let = link
    here.answers[b"a.tif"] = Arrived(State.FAILED, "the reason")
    here.write("a.tif")
    async with here.watched():
        await here.until_states(a_tif="failed")
        await looked_at(here)
    assert len(here.offered) == 1


async def test_a_duplicate_and_a_refusal_are_told(here: Site) -> None:
    here.answers[b"twice.tif"] = Arrived(State.DUPLICATE, "it is in Fileset:1", fileset=1)
    here.answers[b"never.tif"] = AccessDenied("alice may not import")
    here.write("twice.tif")
    here.write("never.tif")
    async with here.watched():
        await here.until_states(twice_tif="duplicate", never_tif="failed")
    assert here.files()["never.tif"].error == "alice may not import"
    assert here.files()["twice.tif"].fileset == 1


async def test_what_is_no_file_is_told_and_the_others_go_on(here: Site) -> None:
    (here.home / "sub").mkdir()
    (here.home / "sub" / "loop").symlink_to("..")
    (here.home / "link.tif").symlink_to("/etc/passwd")
    os.mkfifo(here.home / "fifo.tif")
    here.write("sub/a.tif")
    async with here.watched():
        states = {"sub/loop": "failed", "link.tif": "failed", "fifo.tif": "failed", "sub/a.tif": "imported"}
        await here.until(lambda: here.states() == states, "all known")
        files = here.files()
        assert "symbolic link" in (files["sub/loop"].error or "") and "FIFO" in (files["fifo.tif"].error or "")
        (here.home / "link.tif").unlink()
        (here.home / "link.tif").write_bytes(b"pixels")
        await here.until(lambda: here.states().get("link.tif") == "imported", "the import of the file itself")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read as somebody else")
async def test_what_its_user_may_not_read_is_told_and_the_others_go_on(here: Site) -> None:
    """The daemon could read all of it."""
    here.write("closed/a.tif")
    here.write("set.zarr/closed/0")
    here.write("secret.tif").chmod(0o600)
    for directory in (here.home / "closed", here.home / "set.zarr" / "closed"):
        directory.chmod(0o700)
    here.write("good.tif")
    async with here.watched():
        await here.until_states(closed="failed", set_zarr="failed", secret_tif="failed", good_tif="imported")
        assert all("may not read" in (here.files()[name].error or "") for name in ("closed", "secret.tif"))
        names = {b"closed", b"secret.tif", b"set.zarr"}
        await here.until(lambda: {os.path.basename(path) for path, _ in here.refused} == names, "that people are told")
        for path in (here.home / "closed", here.home / "secret.tif"):
            path.chmod(0o755)
        await here.until(
            lambda: (
                here.states()
                == {"closed/a.tif": "imported", "set.zarr": "failed", "secret.tif": "imported", "good.tif": "imported"}
            ),
            "the import of what may be read now",
        )


async def test_what_is_deeper_than_the_depth_is_told(here: Site) -> None:
    here.keys["depth"] = 1
    here.write("one/a.tif")
    here.write("one/two/b.tif")
    async with here.watched():
        await here.until(lambda: here.states() == {"one/a.tif": "imported", "one/two": "failed"}, "what was found")
    assert "depth = 1" in (here.files()["one/two"].error or "")


async def test_one_that_vanishes_while_it_waits_leaves_nothing(here: Site) -> None:
    async def vanish(arrival: Arrival) -> None:
        (here.folder / os.fsdecode(arrival.path)).unlink()
        raise FileNotFoundError(errno.ENOENT, "it is not there")

    here.let = vanish
    here.write("a.tif")
    async with here.watched():
        await here.until(lambda: here.offered and not here.states(), "nothing known")
        assert not stat.S_ISREG(here.home.stat().st_mode)


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["events"], indirect=True)
async def test_when_events_are_lost_everything_is_looked_at(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    here.keys["scan_seconds"] = 3600.0
    read = watch.Watch.read
    monkeypatch.setattr(watch.Watch, "read", lambda self: (read(self), ({}, True))[1])
    async with here.watched():
        await trio.sleep(0.5)
        here.write("a.tif")
        await here.until_states(a_tif="imported")


async def test_without_watches_everything_is_scanned(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: watch.INotify, path: str, mask: int) -> int:
        raise OSError(errno.ENOSPC, "no more watches")

    monkeypatch.setattr(watch.INotify, "add_watch", refuse)
    async with here.watched():
        await trio.sleep(0.5)
        here.write("a.tif")
        await here.until_states(a_tif="imported")
