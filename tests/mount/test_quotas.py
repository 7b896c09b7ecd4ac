"""Quotas as users meet them: which program says what when there is no more room, and what df and repofs tell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.administered import Administered, administered
from tests.helpers.command_line import repofs
from tests.helpers.drops import drop, set_on
from tests.helpers.mounting import QUICK, REPOFS, fact, tell
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

LAB, TEAM = 61000, 61010
ALICE = Person("alice", 61001, LAB, (TEAM,))
BOB = Person("bob", 61002, LAB)
MIB = 1 << 20
SETTINGS = QUICK + '\n[quota]\nuser = "8 MiB"\n[[sources]]\nname = "scope"\npath = "@outside@"\n'


def populate(drive: Administered) -> None:
    for name, gid in (("lab", LAB), ("team", TEAM)):
        drive.add_group(name, gid, "read-only")
    for person in (ALICE, BOB):
        drive.add_user(person, "lab")
    drive.add_member("team", ALICE)


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    with administered(populate, SETTINGS) as drive:
        yield drive


@pytest.fixture
def folder(drive: Administered, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory of Alice's in which nothing is imported by itself; she holds nothing else."""
    drive.allowed = ["a quota is nearly used up"]
    path = drive.home(ALICE) / request.node.name.replace("[", "-").replace("]", "")
    ALICE.do(os.mkdir, path)
    set_on(ALICE, path, "policy", {"settle_seconds": 86400})
    command(drive, "quota", "set", "alice", f"{held(drive, 'alice') + 8 * MIB}B")
    yield path
    ALICE.run("rm", "-r", path)
    command(drive, "quota", "set", "alice", "default")
    command(drive, "quota", "set", "--group", "team", "default")


def command(drive: Administered, *words: str | Path) -> str:
    """Run a command as root, in this process: the daemon sees no difference, and the tests take half the time."""
    answer = repofs("-C", drive.repository, *words)
    assert answer.code == 0, answer.err
    return answer.out


def usage(drive: Administered, by: str = "user") -> dict[str, dict[str, Any]]:
    report = json.loads(command(drive, "usage", "--by", by, "--json"))
    return {row[by]: row for row in report["rows"]}


def held(drive: Administered, user: str) -> int:
    return int(usage(drive).get(user, {"total": 0})["total"])


def df(person: Person, mountpoint: Path) -> tuple[int, int, int]:
    """Return size, used and available as df shows them to *person*."""
    size, used, free = person.run("df", "-B1", "--output=size,used,avail", mountpoint).stdout.split("\n")[1].split()
    return int(size), int(used), int(free)


def test_dd_cp_and_rsync_say_that_the_quota_is_exceeded(drive: Administered, folder: Path, outside: Path) -> None:
    large = outside / "large"
    large.write_bytes(os.urandom(9 * MIB))
    large.chmod(0o644)
    for command in (
        ("dd", "if=/dev/zero", f"of={folder}/dd", "bs=1M", "count=9"),
        ("cp", large, folder / "cp"),
        ("rsync", large, folder / "rsync"),
    ):
        done = ALICE.run(*command, check=False)
        assert done.returncode != 0 and "quota exceeded" in done.stderr, (command, done)
        for left in folder.iterdir():
            assert left.stat().st_size <= 8 * MIB
            ALICE.do(os.unlink, left)
    assert held(drive, "alice") == 0


def test_truncate_extends_no_further_than_the_quota(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "a", b"")
    assert "quota exceeded" in ALICE.run("truncate", "-s", "9M", path, check=False).stderr
    assert path.stat().st_size == 0
    ALICE.run("truncate", "-s", "8M", path)  # sparse: its size counts
    refused = ALICE.run("touch", folder / "b", check=False)
    assert "quota exceeded" in refused.stderr
    assert df(ALICE, drive.mountpoint)[2] == 0
    ALICE.run("truncate", "-s", "0", path)
    ALICE.run("touch", folder / "b")


def test_a_file_that_did_not_fit_says_so(drive: Administered, folder: Path) -> None:
    ALICE.run("dd", "if=/dev/zero", f"of={folder}/dd", "bs=1M", "count=9", check=False)
    assert fact(folder / "dd", "state") == "incomplete"
    assert "the quota of user alice is 8.0 MiB" in (fact(folder / "dd", "error") or "")


def test_twenty_writers_together_never_exceed_the_quota(drive: Administered, folder: Path) -> None:
    writers = [
        ALICE.start(
            "dd", "if=/dev/zero", f"of={folder}/{number}", "bs=64k", "count=64",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for number in range(20)
    ]  # fmt: skip
    codes = [writer.wait(60) for writer in writers]
    assert any(codes)
    together = sum(path.stat().st_size for path in folder.iterdir())
    assert 7 * MIB < together <= 8 * MIB
    assert usage(drive)["alice"]["drops"] == together


def test_everybody_sees_her_own_quota_and_root_the_disk(drive: Administered, folder: Path) -> None:
    drop(ALICE, folder / "a", bytes(3 * MIB))
    assert df(ALICE, drive.mountpoint) == (8 * MIB, 3 * MIB, 5 * MIB)
    assert df(BOB, drive.mountpoint)[0] == 8 * MIB
    assert df(ROOT, drive.mountpoint)[0] == df(ROOT, drive.layout.managed)[0]
    command(drive, "quota", "set", "--group", "lab", f"{usage(drive, 'group')['lab']['total'] + MIB}B")
    assert df(ALICE, drive.mountpoint)[2] == MIB  # the smaller of the two
    command(drive, "quota", "set", "--group", "lab", "none")
    command(drive, "quota", "set", "alice", "none")
    assert df(ALICE, drive.mountpoint)[0] == df(ROOT, drive.layout.managed)[0]


def test_an_import_counts_once_and_the_same_before_and_after(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "scan.bin", os.urandom(MIB))
    before = usage(drive)["alice"]
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    after = usage(drive)["alice"]
    assert (before["drops"], after["drops"]) == (MIB, 0)
    assert after["originals"] == before["originals"] + MIB
    assert after["total"] == before["total"]
    ALICE.do(os.unlink, path)  # the original stays
    assert usage(drive)["alice"] == after


def test_the_trash_counts_until_it_is_emptied(drive: Administered, folder: Path) -> None:
    path = drop(ALICE, folder / "deleted.bin", os.urandom(MIB))
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    before = usage(drive)["alice"]
    command(drive, "delete", "--yes", str(fact(path, "fileset")))
    deleted = usage(drive)["alice"]
    assert (deleted["trash"], deleted["total"]) == (MIB, before["total"])
    command(drive, "trash", "empty", "--yes")
    emptied = usage(drive)["alice"]
    assert (emptied["trash"], emptied["total"]) == (0, before["total"] - MIB)
    used = int(os.getxattr(drive.home(ALICE), "user.repofs.usage"))
    assert used == emptied["total"]  # the mount's own count


def test_an_import_from_outside_is_refused_before_its_bytes_are_copied(
    drive: Administered, folder: Path, outside: Path
) -> None:
    source = outside / "too large.bin"
    ALICE.do(source.write_bytes, os.urandom(9 * MIB))
    before = usage(drive)["alice"]
    command = (*REPOFS, "-C", drive.repository, "import")
    refused = ALICE.run(*command, source, check=False)
    assert "the quota of user alice is" in refused.stdout + refused.stderr
    assert usage(drive)["alice"]["total"] == before["total"]
    ALICE.run(*command, "--transfer", "ln_s", source)  # its bytes stay outside
    after = usage(drive)["alice"]
    assert (after["total"], after["outside"]) == (before["total"], before["outside"] + 9 * MIB)


def test_what_does_not_fit_into_a_group_is_not_moved_there(drive: Administered, folder: Path) -> None:
    drop(ALICE, folder / "a", bytes(2 * MIB))
    original = drop(ALICE, folder / "original.bin", os.urandom(2 * MIB))
    ALICE.do(tell, original, "now")
    drive.wait_imported(original)
    command(drive, "quota", "set", "--group", "team", "3MiB")
    refused = ALICE.run("chgrp", str(TEAM), folder, check=False)
    assert "quota exceeded" in refused.stderr
    assert (folder / "a").stat().st_gid == folder.stat().st_gid == LAB
    command(drive, "quota", "set", "--group", "team", "4MiB")
    ALICE.run("chgrp", str(TEAM), folder)
    assert usage(drive, "group")["team"]["total"] == 4 * MIB
    with pytest.raises(OSError, match="quota exceeded"):
        ALICE.do((folder / "b").write_bytes, b"x")
    ALICE.do((folder.parent / "b").write_bytes, b"x")
    with pytest.raises(OSError, match="quota exceeded"):
        ALICE.do(os.rename, folder.parent / "b", folder / "b")
    ALICE.do(os.unlink, folder.parent / "b")
    command(drive, "quota", "set", "--group", "team", "default")
    ALICE.run("chgrp", str(LAB), folder)
    assert usage(drive, "group")["team"]["total"] == 0


def test_what_drops_hold_is_known_after_a_stop_and_after_a_kill(own_administered: Administered) -> None:
    drive = own_administered
    path = drop(ALICE, drive.home(ALICE) / ".kept", bytes(MIB))
    drive.stop()
    assert json.loads(drive.layout.drop_counts.read_text())["whole"]
    assert usage(drive)["alice"]["drops"] == MIB  # without a daemon
    drive.start()
    assert usage(drive)["alice"]["drops"] == MIB
    ALICE.do(path.write_bytes, bytes(2 * MIB))
    drive.kill()
    drive.start()
    until(lambda: usage(drive)["alice"]["drops"] == 2 * MIB, "the drops to be counted anew")


@pytest.fixture
def own_administered() -> Iterator[Administered]:
    with administered(populate, SETTINGS) as drive:
        yield drive


def test_usage_shows_each_what_she_may_view(drive: Administered, folder: Path) -> None:
    drop(ALICE, folder / "a", bytes(MIB))
    drop(BOB, drive.home(BOB) / ".b", bytes(MIB))
    command(drive, "group", "set-permissions", "lab", "private")
    shown = (*REPOFS, "-C", drive.repository, "usage")
    seen = json.loads(BOB.run(*shown, "--json").stdout)
    assert [row["user"] for row in seen["rows"]] == ["bob"]
    command(drive, "group", "set-permissions", "lab", "read-only")
    seen = {row["user"]: row for row in json.loads(BOB.run(*shown, "--json").stdout)["rows"]}
    assert seen["alice"]["drops"] == MIB and seen["alice"]["quota"] is None  # that is hers to know
    assert seen["bob"]["quota"] == 8 * MIB
    lines = BOB.run(*shown, "--by", "state").stdout.splitlines()
    assert lines[0].split()[0] == "STATE" and lines[-1].startswith("Total disk usage: ")
    stranger = Person("nobody", 61099, 61099).run(*shown, check=False)
    assert (stranger.returncode, stranger.stderr) == (4, "repofs: only people of this repository enter here\n")


def test_only_administrators_set_quotas(drive: Administered) -> None:
    for words in (("alice", "9TB"), ("lab", "9TB", "--group")):
        done = ALICE.run(*REPOFS, "-C", drive.repository, "quota", "set", *words, check=False)
        assert done.returncode == 4 and "no administrator" in done.stderr
    with pytest.raises(AssertionError, match="is no size"):
        command(drive, "quota", "set", "alice", "much")


def test_who_comes_near_is_told_of_once(drive: Administered, folder: Path) -> None:
    drive.new_log_lines()
    for name in ("a", "b"):
        drop(ALICE, folder / name, bytes(MIB * 15 // 4))
    lines = [line for line in drive.new_log_lines() if "a quota is nearly used up" in line]
    assert len(lines) == 1 and "user alice" in lines[0]
