"""Mounts as the kernel lists them. A dead one needs no daemon: a FUSE mount whose device was closed."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import mounts
from repofs.errors import AccessDenied, InvalidValue, NotFound, RepofsError
from repofs.mounts import Mount
from tests.helpers.mounting import CHECKOUT

MOUNTINFO = rb"""21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:50 / /mnt/two\040words rw,nosuid,nodev shared:9 master:2 - fuse.repofs /srv/a\134b\011c\043 rw,user_id=0
41 21 0:51 / /mnt/below rw - fuse.repofs /srv/below rw
42 41 0:52 / /mnt/below rw - tmpfs tmpfs rw
"""


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_bytes(MOUNTINFO)
    monkeypatch.setattr(mounts, "MOUNTINFO", tmp_path / "mountinfo")


@pytest.mark.usefixtures("listed")
def test_octal_escapes() -> None:
    mount = Mount(40, Path("/mnt/two words"), "fuse.repofs", Path("/srv/a\\b\tc#"))
    assert mounts.all_mounts()[1] == mount
    assert mounts.at(Path("/mnt/two words")) == mount
    assert mounts.of_repository(Path("/srv/a\\b\tc#")) == mount


@pytest.mark.usefixtures("listed")
def test_only_the_topmost_mount_counts() -> None:
    assert mounts.at(Path("/mnt/below")) is None
    assert mounts.at(Path("/")) is None
    assert mounts.of_repository(Path("/srv/nothing")) is None


def test_a_path_outside(tmp_path: Path) -> None:
    assert mounts.containing(tmp_path) is None
    assert not mounts.is_dead(tmp_path)
    assert not mounts.is_dead(tmp_path / "nothing")
    assert not mounts.detach_dead(tmp_path)
    with pytest.raises(FileNotFoundError):
        mounts.containing(tmp_path / "nothing")


def test_what_is_not_mounted_is_not_unmounted(tmp_path: Path) -> None:
    with pytest.raises(RepofsError, match="cannot be unmounted"):
        mounts.unmount(tmp_path)


def test_a_user_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4001)
    with pytest.raises(AccessDenied, match="cannot be unmounted by you"):
        mounts.unmount(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotFound, match="apt-get install fuse3"):
        mounts.unmount(tmp_path)


def _mount_dead(place: Path, source: bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % device
    done = libc.mount(source, os.fsencode(place), b"fuse.repofs", 0, options)
    os.close(device)
    assert done == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def dead(tmp_path: Path) -> Iterator[Path]:
    """A mountpoint with two dead mounts, one over the other."""
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("only root can mount, and needs /dev/fuse")
    place = tmp_path / "dead mount"
    place.mkdir()
    _mount_dead(place, b"/srv/one two")
    _mount_dead(place, b"/srv/one two")
    yield place
    while mounts.at(place):
        mounts.unmount(place, detach=True)


def test_a_dead_mount_is_recognised_and_detached(dead: Path) -> None:
    mount = mounts.at(dead)
    assert mount is not None and mount.source == Path("/srv/one two")
    assert mounts.is_dead(dead)
    assert mounts.detach_dead(dead)
    assert mounts.at(dead) is None
    assert list(dead.iterdir()) == []


@pytest.mark.parametrize(("path", "local"), [("/dev/shm", True), ("/proc", False)])
def test_whether_a_file_system_is_this_machines_alone(path: str, local: bool) -> None:
    fd = os.open(path, os.O_PATH)
    try:
        assert mounts.is_local(fd) is local
    finally:
        os.close(fd)


def test_nothing_is_mounted_over_the_program_itself() -> None:
    """Behind such a mount the daemon would wait for itself; it could not even be killed."""
    for mountpoint in (CHECKOUT, CHECKOUT.parent):
        with pytest.raises(InvalidValue, match="choose an empty directory"):
            mounts.require_mountable(mountpoint)
