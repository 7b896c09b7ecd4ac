"""`repofs fsck` on the command line: what it prints and its exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from repofs.inspection.fsck import run
from repofs.repository import drop_counts, lock
from repofs.xattrs import MARK
from tests.helpers.checked import PLAIN, Checked
from tests.helpers.command_line import repofs
from tests.helpers.mounting import REPOFS


@pytest.fixture
def one(tmp_path: Path) -> Checked:
    return Checked.make(tmp_path)


def test_people_read_a_line_a_finding_and_what_became_of_it(one: Checked) -> None:
    root = one.repository.layout.root
    original = one.original(PLAIN)
    where = original.relative_to(one.repository.layout.managed)
    os.removexattr(original, MARK)
    (original.parent / "str\nay").write_bytes(b"x")
    found = [
        f"error: mark-missing: {where}: it bears the mark of nothing",
        f"error: file-without-row: {where.parent}/str\\nay: it is no file of Fileset:1; its mark says nothing",
    ]
    answer = repofs("-C", root, "fsck")
    assert (answer.code, answer.err) == (4, "")
    mends = [
        "  --repair: it is written again, once its own bytes were read and agree with the checksum",
        "  --repair: none: nobody but you can say what it is; move it away in the backing tree, or rebuild the "
        "catalogue if it is an original",
    ]
    told = [line for pair in zip(found, mends, strict=True) for line in pair]
    assert answer.out.splitlines() == [*told, "2 errors, 0 of them repaired; 0 notes"]
    answer = repofs("-C", root, "fsck", "--repair")
    assert answer.code == 1 + 4
    first, done, second, reason, summary = answer.out.splitlines()
    assert [first, second] == found and done == "  repaired" and reason.startswith("  not repaired: none: nobody but")
    assert summary == "2 errors, 1 of them repaired; 0 notes"
    (original.parent / "str\nay").unlink()
    assert (repofs("-C", root, "fsck").code, repofs("-C", root, "fsck").out) == (0, "clean\n")


def test_the_summary_is_the_last_object(one: Checked) -> None:
    os.removexattr(one.original(PLAIN), MARK)
    answer = repofs("-C", one.repository.layout.root, "fsck", "--json", "--repair")
    *_, summary = map(json.loads, answer.out.splitlines())
    assert {key: summary[key] for key in ("repaired", "left", "notes")} == {"repaired": 1, "left": 0, "notes": 0}


def test_after_a_repair_the_next_mount_counts_the_bytes_of_drops_anew(one: Checked) -> None:
    layout = one.repository.layout
    drop_counts.save(layout.drop_counts, [], whole=True)
    assert repofs("-C", layout.root, "fsck").code == 0 and drop_counts.load(layout.drop_counts).whole
    assert repofs("-C", layout.root, "fsck", "--repair").code == 0 and not drop_counts.load(layout.drop_counts).whole


def test_what_cannot_be_looked_at_has_its_code(tmp_path: Path, one: Checked) -> None:
    layout = one.repository.layout
    answer = repofs("-C", tmp_path / "scope1", "fsck")
    assert answer.code == 8 and "is not a repository" in answer.err
    assert repofs("-C", layout.root, "fsck", "--no-such-option").code == 16
    with lock.held(layout, "has mounted it on /mnt"):
        answer = repofs("-C", layout.root, "fsck", "--repair")
        assert answer.code == 8 and "has mounted it on /mnt: unmount it first, a repair works alone" in answer.err


@pytest.mark.parametrize("content", [b"no database", None])
def test_without_a_catalogue_it_says_how_to_make_one(one: Checked, content: bytes | None) -> None:
    layout = one.repository.layout
    layout.catalogue.unlink()
    if content is not None:
        layout.catalogue.write_bytes(content)
    for command in ("fsck", "verify", "originals"):
        answer = repofs("-C", layout.root, command)
        assert answer.code == 8 and f"repofs -C {layout.root} fsck --rebuild-catalogue" in answer.err


def test_control_c_ends_it_with_its_code(one: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "CHECKS", (interrupted,))
    assert repofs("-C", one.repository.layout.root, "fsck").code == 32
    with lock.held(one.repository.layout, "has it again"):
        pass


def test_on_a_terminal_it_shows_how_far_it_is(one: Checked) -> None:
    leader, follower = pty.openpty()
    with os.fdopen(leader, "rb", buffering=0) as terminal:
        command = [*REPOFS, "-C", str(one.repository.layout.root), "fsck"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=follower, timeout=60)
        os.close(follower)
        shown = terminal.read(65536)
    assert (done.returncode, done.stdout) == (0, b"clean\n")
    assert b"0/0" in shown and b"clean" not in shown
