"""status, wait, show, log, retry: a plain directory bears the attributes that a mount would answer."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import ome_types
import pytest
from rich.console import Console

from repofs import mounts
from repofs.cli import progress
from repofs.cli import status as status_command
from repofs.cli import wait as wait_command
from repofs.cli.exit_codes import ExitCode
from repofs.lifecycle import State
from repofs.mounts import Mount
from repofs.quotas import human_bytes
from tests.helpers.command_line import repofs

FILESET = {"object": "Fileset:17", "owner": "alice", "log": "alice_2/2026-11/22/a.log", "files": [{"path": "a.tif"}]}


def put(path: Path, name: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    os.setxattr(path, f"user.repofs.{name}", text.encode())


def report(counts: dict[str, int], *problems: tuple[str, str, str], more: int = 0) -> dict[str, object]:
    return {
        "counts": counts,
        "bytes": {state: 1536 * count for state, count in counts.items()},
        "problems": [dict(zip(("path", "state", "error"), one, strict=True)) for one in problems],
        "more": more,
        "read_only": None,
        "hanging": [],
    }


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mountpoint, and all below it is in the mount."""
    place = tmp_path / "mnt"
    place.mkdir()
    mount = Mount(7, place, "fuse.repofs", tmp_path / "repository")

    def containing(path: Path) -> Mount | None:
        path.stat()
        return mount if path.resolve().is_relative_to(place) else None

    monkeypatch.setattr(mounts, "containing", containing)
    monkeypatch.setattr(mounts, "of_repository", lambda path: mount if path == mount.source else None)
    return place


@pytest.fixture
def original(top: Path) -> Path:
    path = top / "a.tif"
    path.touch()
    for name, value in {
        "state": "imported",
        "fileset": "Fileset:17",
        "images": "Image:1,Image:2",
        "log": FILESET["log"],
        "metadata": FILESET,
    }.items():
        put(path, name, value)
    put(top, "Fileset:17", FILESET)
    log = top / str(FILESET["log"])
    log.parent.mkdir(parents=True)
    log.write_bytes(b"2026-11-22 created\n2026-11-22 named caf\xe9\n")
    return path


# --- outside, absent -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["status", "wait", "show", "log", "retry"])
def test_a_path_outside_every_mount(top: Path, command: str) -> None:
    answer = repofs(command, top.parent)
    assert (answer.code, answer.err) == (ExitCode.INVALID, f"repofs: {top.parent} lies in no repofs mount\n")


@pytest.mark.parametrize("command", ["status", "wait", "show", "log", "retry"])
def test_a_path_that_is_not_there(top: Path, command: str) -> None:
    answer = repofs(command, top / "nothing")
    assert (answer.code, answer.err) == (ExitCode.NOT_FOUND, f"repofs: {top}/nothing: No such file or directory\n")


@pytest.mark.parametrize("command", [["show", "Fileset:1"], ["log", "Fileset:1"], ["status"]])
def test_a_repository_that_is_not_mounted(top: Path, tmp_path: Path, command: list[str]) -> None:
    other = tmp_path / "other"
    assert repofs("-C", other, *command).code == ExitCode.NO_REPOSITORY
    assert repofs("init", other).code == ExitCode.DONE
    answer = repofs("-C", other, *command)
    assert answer.code == ExitCode.NO_DAEMON
    assert f"{other} is not mounted: repofs mount {other} MOUNTPOINT" in answer.err


def test_what_is_never_imported_has_no_status(top: Path) -> None:
    assert repofs("status", top).code == ExitCode.NOT_FOUND


# --- status --------------------------------------------------------------------------------------


def test_status_is_a_table_and_the_problems(top: Path) -> None:
    put(top, "status", report({"failed": 1, "imported": 12}, ("alice_2/x\n.tif", "failed", "cut off"), more=3))
    assert repofs("status", top).out.splitlines() == [
        "STATE     FILES  SIZE",
        "imported  12     18.0 KiB",
        "failed    1      1.5 KiB",
        f"failed: {top}/alice_2/x\\n.tif: cut off",
        "and 3 more",
    ]


def test_status_of_several_paths_is_added_up(top: Path) -> None:
    for name in ("a", "b"):
        (top / name).mkdir()
        put(top / name, "status", report({"imported": 2}))
    assert repofs("status", top / "a", top / "b").out.splitlines()[1].split() == ["imported", "4", "6.0", "KiB"]


def test_status_json_is_what_the_mount_says(top: Path) -> None:
    told = report({"failed": 1}, ("x.tif", "failed", "cut off"))
    put(top, "status", told)
    assert repofs("status", "--json", top).json == [{"path": str(top), **told}]


def test_status_without_files(top: Path) -> None:
    put(top, "status", report({}))
    assert repofs("status", top).out == "no files\n"


def test_status_without_a_path(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole mount of a named repository; else where one stands; else a sentence."""
    (top / "alice_2").mkdir()
    put(top, "status", report({"imported": 5}))
    put(top / "alice_2", "status", report({"imported": 1}))
    assert repofs("status").code == ExitCode.NO_REPOSITORY
    assert "5" in repofs("-C", top.parent / "repository", "status").out.split()
    monkeypatch.chdir(top / "alice_2")
    assert "1" in repofs("status").out.split()
    assert "5" in repofs("-C", top.parent / "repository", "status").out.split()


def test_watch_shows_what_changes_until_it_is_interrupted(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(top, "status", report({"settling": 1}))
    turns = iter((lambda: put(top, "status", report({"imported": 1})), _interrupt))
    monkeypatch.setattr(status_command.time, "sleep", lambda _seconds: next(turns)())
    monkeypatch.setattr(status_command, "_on_terminal", lambda: True)
    answer = repofs("status", "--watch", top)
    assert answer.code == 0
    assert "imported" in answer.out and "1.5 KiB" in answer.out


def test_watch_is_for_terminals(top: Path) -> None:
    put(top, "status", report({"settling": 1}))
    answer = repofs("status", "--watch", top)
    assert answer.code == ExitCode.INVALID
    assert "repofs wait" in answer.err


def test_watch_puts_each_problem_on_a_line_of_its_own() -> None:
    problem = progress.Problem(Path("bad.tif"), State.FAILED, "no room")
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    screen.print(status_command._picture(progress.Progress({State.FAILED: 1}, {State.FAILED: 9}, (problem,), 0)))
    assert isinstance(screen.file, io.StringIO)
    assert "failed: bad.tif: no room" in screen.file.getvalue().splitlines()


def _interrupt() -> None:
    raise KeyboardInterrupt


# --- wait ----------------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Let time pass without waiting: each pause does the next of the given deeds."""

    def arrange(*deeds: Callable[[], None]) -> list[float]:
        seen: list[float] = []
        coming, now = iter(deeds), [0.0]

        def sleep(seconds: float) -> None:
            seen.append(seconds)
            now[0] += seconds
            next(coming)()

        monkeypatch.setattr(wait_command.time, "sleep", sleep)
        monkeypatch.setattr(wait_command.time, "monotonic", lambda: now[0])
        return seen

    return arrange


def test_wait_returns_when_all_are_imported(top: Path, pauses: Callable[..., list[float]]) -> None:
    put(top, "status", report({"settling": 1, "imported": 1}))
    seen = pauses(
        lambda: put(top, "status", report({"importing": 1, "imported": 1})),
        lambda: put(top, "status", report({"imported": 2})),
    )
    answer = repofs("wait", top)
    assert (answer.code, answer.out, answer.err, len(seen)) == (0, "", "", 2)


@pytest.mark.parametrize("state", ["failed", "incomplete", "duplicate"])
def test_wait_says_what_will_not_be_imported(top: Path, pauses: Callable[..., list[float]], state: str) -> None:
    put(top, "status", report({"settling": 1, state: 1}, ("x.tif", state, "cut off")))
    pauses(lambda: put(top, "status", report({"imported": 1, state: 1}, ("x.tif", state, "cut off"))))
    answer = repofs("wait", top)
    assert (answer.code, answer.out) == (ExitCode.FAILED, f"{state}: {top}/x.tif: cut off\n")


def test_wait_gives_up(top: Path, pauses: Callable[..., list[float]]) -> None:
    put(top, "status", report({"writing": 1, "settling": 2, "imported": 4}))
    seen = pauses(*[lambda: None] * 100)
    answer = repofs("wait", top, "--timeout", "0.3")
    assert (answer.code, answer.err) == (
        ExitCode.TIMEOUT,
        "repofs: still under way: 3; repofs status tells which and why\n",
    )
    assert sum(seen) == pytest.approx(0.3)


def test_wait_for_nothing(top: Path) -> None:
    put(top, "status", report({}))
    assert repofs("wait", top).code == 0


# --- show ----------------------------------------------------------------------------------------


def test_show_a_file(original: Path) -> None:
    assert repofs("show", original, "--json").json == {
        "path": str(original),
        "state": "imported",
        "fileset": "Fileset:17",
        "images": ["Image:1", "Image:2"],
        "log": FILESET["log"],
        "metadata": FILESET,
    }


def test_show_a_drop(top: Path) -> None:
    (top / "b.tif").touch()
    put(top / "b.tif", "state", "failed")
    put(top / "b.tif", "error", "cut off")
    assert repofs("show", top / "b.tif").out == f"path: {top}/b.tif\nstate: failed\nerror: cut off\n"


def test_show_an_object(original: Path) -> None:
    named = ("-C", original.parent.parent / "repository", "show", "Fileset:17")
    assert repofs(*named, "--json").json == FILESET
    lines = repofs(*named).out.splitlines()
    assert lines == [
        "object: Fileset:17", "owner: alice", "log: alice_2/2026-11/22/a.log", "files 1:", "  path: a.tif",
    ]  # fmt: skip


def test_show_an_image_as_ome_xml(top: Path) -> None:
    sizes = {f"size_{axis}": 7 for axis in "xyzct"}
    image = {
        "object": "Image:9",
        "name": "cells",
        "pixel_type": "uint8",
        "rgb": False,
        "big_endian": False,
        "channels": [],
    }
    put(top, "Image:9", {**image, **sizes})
    answer = repofs("-C", top.parent / "repository", "show", "Image:9", "--ome-xml")
    assert ome_types.from_xml(answer.out).images[0].name == "cells"


def test_only_an_image_is_shown_as_ome_xml(original: Path) -> None:
    for what in ("Fileset:17", original):
        answer = repofs("-C", original.parent.parent / "repository", "show", what, "--ome-xml")
        assert answer.code == ExitCode.INVALID
        assert "is no image: name one" in answer.err


def test_show_an_object_that_is_not_there(original: Path) -> None:
    answer = repofs("-C", original.parent.parent / "repository", "show", "Image:99")
    assert (answer.code, answer.err) == (ExitCode.NOT_FOUND, "repofs: there is no Image:99 that you may see\n")


def test_a_file_that_is_called_like_an_object(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    (top / "Fileset:17").touch()
    assert repofs("show", "Fileset:17", "--json").json == {"path": str(top / "Fileset:17")}


# --- log -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["path", "Fileset:17"])
def test_log(original: Path, what: str) -> None:
    words = ("-C", original.parent.parent / "repository", "log", original if what == "path" else what)
    assert repofs(*words).out == "2026-11-22 created\n2026-11-22 named caf\\xe9\n"
    told = repofs(*words, "--json").json
    assert told == {
        "log": str(original.parent / str(FILESET["log"])),
        "lines": ["2026-11-22 created", "2026-11-22 named caf\udce9"],
    }


def test_a_file_without_a_log(top: Path) -> None:
    answer = repofs("log", top)
    assert (answer.code, answer.err) == (
        ExitCode.NOT_FOUND,
        f"repofs: {top} has no log yet: it is kept for files once their import has begun or was given up\n",
    )


# --- retry ---------------------------------------------------------------------------------------


def test_retry_sets_the_command_and_says_the_state(top: Path) -> None:
    (top / "b.tif").touch()
    put(top / "b.tif", "state", "settling")
    assert repofs("retry", top / "b.tif").out == f"{top}/b.tif: settling\n"
    assert os.getxattr(top / "b.tif", "user.repofs.import") == b"retry"
    assert repofs("retry", "--json", top / "b.tif").json == [
        {"path": str(top / "b.tif"), "state": "settling", "error": None}
    ]


def test_retry_says_why_a_file_is_left_as_it_is(top: Path) -> None:
    (top / "b.tif").touch()
    put(top / "b.tif", "state", "incomplete")
    put(top / "b.tif", "error", "its writer did not end well")
    assert repofs("retry", top / "b.tif").out == f"{top}/b.tif: incomplete: its writer did not end well\n"


def test_retry_of_a_read_only_file_says_what_to_do(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_given: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setxattr", refused)
    answer = repofs("retry", top)
    assert answer.code == ExitCode.REFUSED
    assert "chmod u+w" in answer.err


def test_retry_tells_the_daemons_reason(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_given: object) -> None:
        raise OSError(16, "Device or resource busy")

    put(top, "error", "it is still open for writing")
    monkeypatch.setattr(os, "setxattr", refused)
    answer = repofs("retry", top)
    assert (answer.code, answer.err) == (ExitCode.BUSY, f"repofs: {top}: it is still open for writing\n")


def test_sizes_are_written_for_people() -> None:
    sizes = [0, 1023, 1024, 1536, 10 << 20, 5 << 40]
    assert [human_bytes(size) for size in sizes] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "10.0 MiB",
        "5.0 TiB",
    ]


@pytest.mark.parametrize(
    ("used", "why_not", "line"),
    [
        (True, None, "kernel passthrough: used"),
        (False, "it is switched off", "kernel passthrough: not used: it is switched off"),
        (True, "not of 0:45", "kernel passthrough: used; not of 0:45"),
    ],
)
def test_status_of_a_whole_mount_says_who_reads(top: Path, used: bool, why_not: str | None, line: str) -> None:
    put(top, "status", report({}) | {"passthrough": {"used": used, "why_not": why_not}})
    assert repofs("status", top).out == f"no files\n{line}\n"
