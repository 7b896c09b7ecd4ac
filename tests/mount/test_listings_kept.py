"""The kernel keeps listings of directories in which all see the same, and never shows an old one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kernel
from repofs.fuse import native
from tests.helpers.drops import drop
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE, BOB, Person

STRANGER = Person("stranger", 61009, 61009)
OLD_SECONDS = 0.2  # after which a directory counts as unchanged

pytestmark = [
    pytest.mark.usefixtures("kernel_keeps"),
    pytest.mark.skipif(
        native is None or not kernel.can_count(),
        reason="listings are kept where the native module is built, requests counted by Linux 6.11 with tracefs",
    ),
]


@pytest.fixture
def folder(drive: Drive) -> Path:
    path = drive.home(ALICE) / f"folder-{time.monotonic_ns()}"
    ALICE.do(os.mkdir, path)
    for name in ("a", "b"):
        ALICE.do(os.mkdir, path / name)
    time.sleep(OLD_SECONDS)
    ALICE.do(os.listdir, path)
    return path


@pytest.fixture
def behind(drive: Drive, folder: Path) -> Path:
    """The folder in the backing tree, where the importer works."""
    return drive.layout.managed / folder.relative_to(drive.mountpoint)


def asked(drive: Drive, path: Path) -> int:
    """Return how often the kernel asks for names when Alice lists the directory."""
    with kernel.requests(drive.mountpoint) as requests:
        ALICE.do(os.listdir, path)
        kernel.wait_idle(drive.pid)
    return requests["READDIR"] + requests["READDIRPLUS"]


def listed(path: Path) -> list[str]:
    return sorted(ALICE.do(os.listdir, path))


def test_a_listing_is_kept_for_all_who_may_list(drive: Drive, folder: Path) -> None:
    assert asked(drive, folder) == 0
    assert listed(folder) == ["a", "b"]


def test_what_is_made_and_removed_in_the_mount_is_seen_at_once(folder: Path) -> None:
    for number in range(20):
        ALICE.do(os.mkdir, folder / "new")
        assert listed(folder) == ["a", "b", "new"]
        ALICE.do(os.rmdir, folder / "new")
        assert listed(folder) == ["a", "b"]
        if number % 2:
            time.sleep(OLD_SECONDS / 10)


def test_what_is_made_and_removed_behind_the_mount_is_seen_at_once(folder: Path, behind: Path) -> None:
    for number in range(20):
        (behind / "new").mkdir()
        assert listed(folder) == ["a", "b", "new"]
        (behind / "new").rmdir()
        assert listed(folder) == ["a", "b"]
        if number % 2:
            time.sleep(OLD_SECONDS / 10)


def test_a_time_that_is_set_back_hides_nothing(drive: Drive, folder: Path, behind: Path) -> None:
    before = behind.stat()
    for number in range(20):
        (behind / f"new-{number:02}").mkdir()
        os.utime(behind, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert listed(folder) == ["a", "b", *(f"new-{one:02}" for one in range(number + 1))]
        if number % 2:
            time.sleep(OLD_SECONDS / 10)
    time.sleep(OLD_SECONDS)
    ALICE.do(os.listdir, folder)
    assert asked(drive, folder) == 0


def test_who_lists_while_it_changes_leaves_nothing_old(folder: Path, behind: Path) -> None:
    with os.scandir(folder) as entries:
        first = next(entries).name
        (behind / "new").mkdir()
        rest = [entry.name for entry in entries]
    assert first in ("a", "b") and {first, *rest} >= {"a", "b"}
    assert listed(folder) == ["a", "b", "new"]


def test_where_each_sees_her_own_nothing_is_kept(drive: Drive) -> None:
    """A user directory may hold data of several groups."""
    time.sleep(OLD_SECONDS)
    ALICE.do(os.listdir, drive.home(ALICE))
    assert asked(drive, drive.home(ALICE)) > 0
    assert asked(drive, drive.mountpoint) > 0


def test_who_may_not_list_gets_no_kept_listing(drive: Drive, folder: Path) -> None:
    assert asked(drive, folder) == 0
    with pytest.raises(PermissionError):
        STRANGER.do(os.listdir, folder)


@pytest.fixture
def originals(drive: Drive) -> Iterator[Path]:
    """An import directory of two files."""
    top = drive.home(ALICE) / f"scan-{time.monotonic_ns()}.zarr"
    ALICE.do(os.mkdir, top)
    paths = [drop(ALICE, top / name) for name in ("0", "1")]
    drive.wait_imported(*paths)
    yield drive.original_of(paths[0]).parent


def test_names_that_somebody_is_removing_are_hidden_from_her_alone(drive: Drive, originals: Path) -> None:
    time.sleep(OLD_SECONDS)
    assert listed(originals) == sorted(BOB.do(os.listdir, originals)) == ["0", "1"]
    ALICE.do(os.unlink, originals / "0")
    assert listed(originals) == ["1"]
    assert sorted(BOB.do(os.listdir, originals)) == ["0", "1"]
    assert listed(originals) == ["1"]
