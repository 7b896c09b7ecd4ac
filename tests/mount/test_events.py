"""`.repofs/events` in a mount, read by real programs of real users."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import repofs
from tests.helpers.drops import drop
from tests.helpers.import_command import told
from tests.helpers.mounting import Drive, tell
from tests.helpers.people import ALICE, BOB, CAROL, ROOT, Person
from tests.helpers.waiting import until

EVE = Person("eve", 61099, 61099)  # a stranger


def stream(drive: Drive) -> Path:
    return drive.mountpoint / ".repofs" / "events"


def fail(drive: Drive, person: Person, name: str) -> Path:
    """Drop a file of *person* that cannot be imported: its target is not there."""
    folder = drive.home(person) / "nowhere"
    person.do(_folder_without_target, folder)
    path = drop(person, folder / name, name.encode())
    drive.wait_state(path, "failed")
    return path


def _folder_without_target(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    os.setxattr(folder, "user.repofs.target", b"Dataset:9999")


@contextlib.contextmanager
def tail(person: Person, *arguments: str | Path) -> Iterator[list[Any]]:
    """Run tail; yield what it has printed so far as a list that grows when looked at."""
    process = person.start("tail", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield _Printed(process)
        assert process.poll() is None
    finally:
        process.kill()
        _, complaints = process.communicate()
    assert complaints == b""


class _Printed(list[Any]):
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._pipe = process.stdout.fileno()
        self._rest = b""

    def paths(self) -> list[str]:
        """Return the last names of the paths of all lines so far."""
        with contextlib.suppress(BlockingIOError):
            while more := os.read(self._pipe, 1 << 16):
                self._rest += more
        *whole, self._rest = self._rest.split(b"\n")
        self += [json.loads(line) for line in whole]
        return [os.path.basename(one["path"] or "") for one in self]


def paths(text: str) -> list[str]:
    return [os.path.basename(json.loads(line)["path"] or "") for line in text.splitlines()]


def wait_told(drive: Drive, person: Person, name: str) -> None:
    until(lambda: name in paths(person.run("cat", stream(drive)).stdout), f"{name} in the stream")


def test_each_reader_follows_what_she_may_view(drive: Drive) -> None:
    before = fail(drive, ALICE, "before.bin")
    wait_told(drive, ALICE, before.name)
    with (
        tail(ALICE, "-f", stream(drive)) as alice,
        tail(BOB, "-n", "0", "-f", stream(drive)) as bob,
        tail(CAROL, "-F", stream(drive)) as carol,
        tail(ROOT, "-n", "3", "-f", stream(drive)) as root,
    ):
        until(lambda: before.name in alice.paths() and before.name in root.paths(), "what was there")
        until(lambda: _open_by(stream(drive)) >= 4, "four readers")
        hers = fail(drive, CAROL, "carol.bin")  # in a private group
        good = drop(ALICE, drive.home(ALICE) / "good.bin")
        drive.wait_imported(good)
        until(lambda: alice.paths()[-1:] == ["good.bin"], lambda: f"Alice's: {alice.paths()}")
        until(lambda: bob.paths()[-1:] == ["good.bin"], lambda: f"Bob's: {bob.paths()}")
        until(lambda: carol.paths()[-1:] == ["carol.bin"], lambda: f"Carol's: {carol.paths()}")
        until(lambda: root.paths()[-2:] == ["carol.bin", "good.bin"], lambda: f"root's: {root.paths()}")
        assert "carol.bin" not in alice.paths() + bob.paths()
        assert bob.paths() == ["good.bin"] and carol.paths() == ["carol.bin"]
        [told] = carol
        assert told["event"] == "failed" and told["user"] == "carol" and "Dataset:9999" in told["error"]
        assert CAROL.run("cat", drive.mountpoint / told["log"]).stdout
        assert alice[-1]["object"].startswith("Fileset:") and alice[-1]["error"] is None
    assert hers.exists()


def _open_by(path: Path) -> int:
    """Return how many processes have *path* open."""
    count = 0
    for process in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            count += os.readlink(process) == str(path)
    return count


def test_whole_and_by_its_end(drive: Drive) -> None:
    for name in ("one.bin", "two.bin", "three.bin"):
        wait_told(drive, ALICE, fail(drive, ALICE, name).name)
    whole = ALICE.run("cat", stream(drive)).stdout
    assert paths(whole)[-3:] == ["one.bin", "two.bin", "three.bin"]
    assert ALICE.do(_read, stream(drive)) == whole
    assert ALICE.do(_size, stream(drive)) == len(whole)
    assert paths(ALICE.run("tail", "-n", "2", stream(drive)).stdout) == ["two.bin", "three.bin"]
    assert paths(ALICE.run("grep", "two.bin", stream(drive)).stdout) == ["two.bin"]
    assert ALICE.run("wc", "-c", stream(drive)).stdout.split()[0] == str(len(whole))
    with tail(ALICE, "-n", "2", "-f", stream(drive)) as followed:
        until(lambda: followed.paths() == ["two.bin", "three.bin"], lambda: f"two lines: {followed.paths()}")


def _read(path: Path) -> str:
    return path.read_text()


def _size(path: Path) -> int:
    return path.stat().st_size


def test_a_directory_of_another_group_is_for_that_group(drive: Drive) -> None:
    wait_told(drive, CAROL, fail(drive, CAROL, "private.bin").name)
    assert "private.bin" not in ALICE.run("cat", stream(drive)).stdout
    assert "private.bin" in ROOT.run("cat", stream(drive)).stdout


def test_nobody_else_reads_it_and_nobody_writes_it(drive: Drive) -> None:
    with pytest.raises(PermissionError):
        EVE.do(_read, stream(drive))
    for person in (ALICE, ROOT):
        with pytest.raises(PermissionError):
            person.do(_append, stream(drive))
        with pytest.raises(PermissionError):
            person.do(os.unlink, stream(drive))
    assert ALICE.run("ls", "-l", stream(drive)).stdout.startswith("-r--r--r-- 1 root root ")


def _append(path: Path) -> None:
    with path.open("a"):
        pass


def test_after_a_restart_the_recent_ones_are_there(own_drive: Drive) -> None:
    fail(own_drive, ALICE, "before.bin")
    wait_told(own_drive, ALICE, "before.bin")
    own_drive.stop()
    own_drive.start()
    wait_told(own_drive, ALICE, "before.bin")
    fail(own_drive, ALICE, "after.bin")
    wait_told(own_drive, ALICE, "after.bin")
    assert paths(ALICE.run("cat", stream(own_drive)).stdout) == ["before.bin", "after.bin"]


# --- .repofs/failed --------------------------------------------------------------------------------


def failed(drive: Drive, person: Person) -> Path:
    return drive.mountpoint / ".repofs" / "failed" / drive.home(person).name


def test_a_link_leads_to_what_has_failed_until_it_is_imported(drive: Drive) -> None:
    path = fail(drive, ALICE, "broken.bin")
    link = failed(drive, ALICE) / "broken.bin"
    assert ALICE.do(link.read_bytes) == b"broken.bin"
    listed = ALICE.run("ls", "-l", link.parent).stdout
    assert f"broken.bin -> ../../../{drive.home(ALICE).name}/nowhere/broken.bin" in listed
    renamed = path.with_name("renamed.bin")
    ALICE.do(path.rename, renamed)
    assert "broken.bin" not in os.listdir(link.parent) and "renamed.bin" in os.listdir(link.parent)
    moved = drive.home(ALICE) / "renamed.bin"
    ALICE.do(renamed.rename, moved)
    assert ALICE.do(os.readlink, link.with_name("renamed.bin")) == f"../../../{drive.home(ALICE).name}/renamed.bin"
    ALICE.do(tell, moved, "retry")
    drive.wait_imported(moved)
    assert "renamed.bin" not in os.listdir(link.parent)


def test_who_may_see_the_user_directory_enters(drive: Drive) -> None:
    fail(drive, CAROL, "hers.bin")
    for person in (CAROL, ROOT):
        assert "hers.bin" in person.do(os.listdir, failed(drive, CAROL))
    for person in (ALICE, EVE):
        with pytest.raises(PermissionError):
            person.do(os.listdir, failed(drive, CAROL))
    assert BOB.do(os.listdir, failed(drive, BOB)) == []
    with pytest.raises(PermissionError):
        CAROL.do(os.unlink, failed(drive, CAROL) / "hers.bin")


def test_status_names_it_with_its_error(drive: Drive) -> None:
    path = fail(drive, ALICE, "named.bin")
    told = json.loads(ALICE.do(repofs, "status", "--json", path.parent).out)
    [problem] = [one for one in told[0]["problems"] if one["path"].endswith("named.bin")]
    assert problem["state"] == "failed" and "Dataset:9999" in problem["error"]


def test_links_outlive_the_daemon_and_those_of_what_has_gone_do_not(own_drive: Drive) -> None:
    fail(own_drive, ALICE, "stays.bin")
    gone = fail(own_drive, ALICE, "gone.bin")
    own_drive.kill()
    own_drive.backing(gone).unlink()
    own_drive.start()
    until(lambda: os.listdir(failed(own_drive, ALICE)) == ["stays.bin"], "one link")


def test_a_command_that_fails_leaves_its_log_until_the_same_source_is_imported(drive: Drive) -> None:
    source = drive.outside / "outside.bin"
    ALICE.do(source.write_bytes, b"from outside")
    report = told(drive, ALICE, "-T", "Dataset:9999", source)
    assert report["state"] == "failed"
    until(lambda: logs(drive, ALICE) != [], "a link to the log")
    [name] = logs(drive, ALICE)
    assert name.startswith("outside.bin~")
    assert "Dataset:9999" in ALICE.do((failed(drive, ALICE) / name).read_text)
    status = json.loads(ALICE.do(repofs, "status", "--json", drive.home(ALICE)).out)
    [problem] = [one for one in status[0]["problems"] if one["path"].endswith(name)]
    assert "Dataset:9999" in problem["error"]
    [event] = [one for one in events(drive, ALICE) if one["source"] == str(source)]
    assert (event["event"], event["path"], event["log"]) == ("failed", None, report["log"])
    assert told(drive, ALICE, source)["state"] == "imported"
    until(lambda: logs(drive, ALICE) == [], "no link any more")


def logs(drive: Drive, person: Person) -> list[str]:
    return [name for name in os.listdir(failed(drive, person)) if name.endswith(".log")]


def events(drive: Drive, person: Person) -> list[Any]:
    return [json.loads(line) for line in person.run("cat", stream(drive)).stdout.splitlines()]
