"""`.repofs/failed`: true at any time, whatever becomes of what has failed."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
import trio
import trio.lowlevel

from repofs.events import News
from repofs.lifecycle import State
from repofs.model import Outcome, Refused
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.namespace.request import Change
from repofs.xattrs import ImportCommand
from tests.helpers.namespace import ALICE, World, world

ARRIVAL = News(
    1, 41, "2026-11-22T21:15:03.123+00:00", State.FAILED, "alice", ALICE.encode(), os.getegid(), 5001,
    b"scan.tif", b"scope/plate/scan.tif", None, "broken", b".repofs/log/alice_2/41.log",
)  # fmt: skip


def links(w: World) -> dict[str, str]:
    """Return what lies in the directory: names, and the paths in the mount that they lead to."""
    directory = w.layout.failed / ALICE
    return {
        name: os.path.relpath(os.path.join(directory, os.readlink(directory / name)), w.layout.managed)
        for name in os.listdir(directory)
    }


def failed(w: World) -> list[str]:
    """Return the paths below Alice's directory of what the links lead to."""
    return sorted(os.path.relpath(path, ALICE) for path in links(w).values())


def fail(w: World, path: str) -> None:
    """Let the import of the drop *path* fail."""
    drop = w.claim(path)
    assert drop is not None
    for file in [p for p in w.path(path).rglob("*") if p.is_file()] or [w.path(path)]:
        status = file.stat()
        w.marks.write(os.fsencode(file), Refused(status.st_size, status.st_mtime_ns, State.FAILED, "broken", "x.log"))
    w.claims.outcome(Outcome(drop.token, State.FAILED, "broken"))


def survey(w: World) -> None:
    async def run() -> None:
        with trio.move_on_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(w.survey.run)
                while not w.drops.surveyed:
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

    w.drops.surveyed = False
    trio.run(run)


@pytest.fixture
def broken(w: World) -> World:
    """A namespace in which d/scan.tif has failed."""
    w.mkdir("d")
    w.write("d/scan.tif")
    fail(w, "d/scan.tif")
    assert links(w) == {"scan.tif": f"{ALICE}/d/scan.tif"}
    return w


def test_what_is_imported_or_a_duplicate_has_no_link(w: World) -> None:
    w.write("good")
    w.imports("good")
    w.write("twice")
    drop = w.claim("twice")
    assert drop is not None
    w.claims.outcome(Outcome(drop.token, State.DUPLICATE, "there is one"))
    assert links(w) == {}


def test_written_again(broken: World) -> None:
    fh = broken.open("d/scan.tif", os.O_WRONLY)
    assert failed(broken) == ["d/scan.tif"]
    broken.handles.write(fh, 0, b"better")
    assert links(broken) == {}
    broken.close(fh)


def test_truncated(broken: World) -> None:
    broken.change("d/scan.tif", Change(size=0))
    assert links(broken) == {}


def test_times_and_mode_change_nothing(broken: World) -> None:
    broken.change("d/scan.tif", Change(mtime_ns=10**18, mode=0o600))
    assert broken.state("d/scan.tif") is State.FAILED
    assert failed(broken) == ["d/scan.tif"]


def test_retried(broken: World) -> None:
    broken.drops.command(broken.node("d/scan.tif"), ImportCommand.RETRY, 0)
    assert links(broken) == {}
    fail(broken, "d/scan.tif")
    assert failed(broken) == ["d/scan.tif"]


def test_cancelled(broken: World) -> None:
    broken.drops.command(broken.node("d/scan.tif"), ImportCommand.CANCEL, 0)
    assert broken.state("d/scan.tif") is State.INCOMPLETE
    assert links(broken) == {}


def test_removed(broken: World) -> None:
    broken.unlink("d/scan.tif")
    assert links(broken) == {}


def test_removed_while_it_is_open(broken: World) -> None:
    fh = broken.open("d/scan.tif")
    broken.unlink("d/scan.tif")
    assert links(broken) == {}
    broken.close(fh)


def test_replaced(broken: World) -> None:
    broken.write("new")
    broken.rename("new", "d/scan.tif")
    assert links(broken) == {}


def test_renamed(broken: World) -> None:
    broken.rename("d/scan.tif", "other.tif")
    assert links(broken) == {"other.tif": f"{ALICE}/other.tif"}


def test_its_directory_renamed(broken: World) -> None:
    broken.mkdir("dd")
    broken.write("dd/scan.tif")
    fail(broken, "dd/scan.tif")
    broken.mkdir("e")
    broken.rename("d", "e/f")
    assert failed(broken) == ["dd/scan.tif", "e/f/scan.tif"]


def test_directories_exchanged(broken: World) -> None:
    broken.mkdir("e")
    broken.write("e/other.tif")
    fail(broken, "e/other.tif")
    broken.rename("d", "e", RENAME_EXCHANGE)
    assert failed(broken) == ["d/other.tif", "e/scan.tif"]


def test_a_file_and_a_directory_exchanged(broken: World) -> None:
    broken.write("file")
    fail(broken, "file")
    broken.rename("file", "d", RENAME_EXCHANGE)
    assert failed(broken) == ["d", "file/scan.tif"]


def test_one_of_its_two_names_removed(broken: World) -> None:
    broken.link("d/scan.tif", "second.tif")
    assert failed(broken) == ["d/scan.tif"]
    broken.unlink("d/scan.tif")
    assert failed(broken) == ["second.tif"]


def test_two_of_one_name_in_two_directories(broken: World) -> None:
    broken.mkdir("e")
    broken.write("e/scan.tif")
    fail(broken, "e/scan.tif")
    inode = broken.node("e/scan.tif").ino
    assert links(broken) == {"scan.tif": f"{ALICE}/d/scan.tif", f"scan.tif~{inode}": f"{ALICE}/e/scan.tif"}
    broken.unlink("d/scan.tif")
    assert failed(broken) == ["e/scan.tif"]


def test_two_of_one_very_long_name(w: World) -> None:
    name = "x" * 255
    for directory in ("a", "b"):
        w.mkdir(directory)
        w.write(f"{directory}/{name}")
        fail(w, f"{directory}/{name}")
    assert failed(w) == [f"a/{name}", f"b/{name}"]


def test_a_directory_that_is_one_drop(w: World) -> None:
    w.mkdir("a.zarr")
    w.write("a.zarr/0")
    w.write("a.zarr/1")
    fail(w, "a.zarr")
    assert failed(w) == ["a.zarr"]
    w.rename("a.zarr", "b.zarr")
    assert failed(w) == ["b.zarr"]
    fh = w.open("b.zarr/0", os.O_WRONLY)
    w.handles.write(fh, 0, b"better")
    assert failed(w) == []
    w.close(fh)


def test_a_directory_becomes_one_drop_and_ceases_to_be_one(broken: World) -> None:
    broken.rename("d", "d.zarr")
    survey(broken)
    assert failed(broken) == ["d.zarr"]
    broken.rename("d.zarr", "d")
    survey(broken)
    assert failed(broken) == ["d/scan.tif"]


def test_a_start_finds_all_and_takes_away_what_is_no_more(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        for name in ("stays", "goes", "better", "unlinked"):
            w.write(name)
            fail(w, name)
        kept = links(w)["stays"]
    w.path("goes").unlink()
    w.path("better").write_bytes(b"other bytes, behind the mount's back")
    (w.layout.failed / ALICE / "unlinked").unlink()
    with world(tmp_path) as again:
        assert sorted(links(again)) == ["better", "stays"], "nobody has looked at the files yet"
        survey(again)
        assert failed(again) == ["stays", "unlinked"] and links(again)["stays"] == kept
        again.node("stays")  # the kernel knows what it removes
        again.unlink("stays")
        assert failed(again) == ["unlinked"]


def test_what_cannot_be_linked_costs_nobody_the_outcome(w: World) -> None:
    (w.layout.failed / ALICE).rmdir()
    w.write("scan.tif")
    with structlog.testing.capture_logs() as logged:
        fail(w, "scan.tif")
    assert w.state("scan.tif") is State.FAILED
    assert [one["log_level"] for one in logged] == ["warning"]
    w.unlink("scan.tif")


def test_an_import_without_a_name_in_the_mount_until_its_source_is_imported(w: World) -> None:
    other = replace(ARRIVAL, number=2, importing=42, source=b"scope/plate2/scan.tif", log=b".repofs/log/alice_2/42.log")
    again = replace(ARRIVAL, number=3, importing=43, log=b".repofs/log/alice_2/43.log")
    w.failed.hear([ARRIVAL, other, again])
    assert sorted(links(w).values()) == [".repofs/log/alice_2/42.log", ".repofs/log/alice_2/43.log"]
    assert all(name.startswith("scan.tif~") and name.endswith(".log") for name in links(w))
    survey(w)
    assert len(links(w)) == 2
    w.failed.hear([replace(again, number=4, kind=State.IMPORTED)])
    assert list(links(w).values()) == [".repofs/log/alice_2/42.log"]


def test_the_status_of_a_user_directory_lists_failed_imports_without_a_name(tmp_path: Path) -> None:
    def problems(w: World, path: str, uid: int = os.geteuid()) -> list[dict[str, str]]:
        return trio.run(w.survey.report, w.node(path), uid).problems

    with world(tmp_path) as w:
        w.mkdir("d")
        w.failed.hear([ARRIVAL, replace(ARRIVAL, number=2, user_directory=b"nobody_9")])
        [problem] = problems(w, "")
        assert (problem["state"], problem["error"]) == ("failed", "broken")
        log = w.layout.managed / problem["path"]
        assert os.path.relpath(log.parent / os.readlink(log), w.layout.managed) == ".repofs/log/alice_2/41.log"
        assert problems(w, "d") == [] and problems(w, "", 54321) == []
    with world(tmp_path) as again:
        [after] = problems(again, "")
        assert after["path"] == problem["path"] and "its log" in after["error"]
        again.failed.hear([replace(ARRIVAL, number=3, kind=State.IMPORTED)])
        assert problems(again, "") == []


def test_news_of_drops_are_not_linked_twice(broken: World) -> None:
    broken.failed.hear([replace(ARRIVAL, source=None, path=b"d/scan.tif")])
    assert failed(broken) == ["d/scan.tif"]


# --- whatever happens -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_it_is_true_after_any_operations(w: World, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"{directory}{name}" for directory in ("", "a/", "b/", "a/c/") for name in ("x", "y")]
    for directory in ("a", "b", "a/c"):
        w.mkdir(directory)
    most = 0
    for _ in range(60):
        with suppress(OSError, AssertionError):
            _anything(w, chance, names)
        assert failed(w) == _truth(w)
        most = max(most, len(failed(w)))
    assert most > 1


def _anything(w: World, chance: random.Random, names: list[str]) -> None:
    one, other = chance.sample(names, 2)
    match chance.choice(
        ["write", "fail", "fail", "import", "remove", "rename", "exchange", "directory", "link", "retry"]
    ):
        case "write":
            w.write(one)
        case "fail":
            with suppress(FileExistsError):
                w.write(one)
            fail(w, one)
        case "import":
            w.imports(one)
        case "remove":
            w.unlink(one)
        case "rename":
            w.rename(one, other)
        case "exchange":
            w.rename(one, other, RENAME_EXCHANGE)
        case "directory":
            w.rename(*chance.sample(["a", "b", "a/c", "b/c"], 2), chance.choice([0, RENAME_EXCHANGE]))
        case "link":
            w.link(one, other)
        case "retry":
            w.drops.command(w.node(one), ImportCommand.RETRY, 0)


def _truth(w: World) -> list[str]:
    """Return the paths of all that is in state failed, one of each inode: the one that a link leads to if it does."""
    by_inode: dict[int, list[str]] = {}
    for path in w.path("").rglob("*"):
        below = os.path.relpath(path, w.path(""))
        if path.is_file() and w.state(below) is State.FAILED:
            by_inode.setdefault(path.stat().st_ino, []).append(below)
    linked = failed(w)
    return sorted(next((one for one in found if one in linked), found[0]) for found in by_inode.values())
