"""The mounts that the kernel has, as /proc/self/mountinfo lists them, and the ways to end one. Knows no daemon.

A repofs mount has the type ``fuse.repofs`` and names its repository directory as its source, so a path is enough
to find the repository that it belongs to. Opens nothing below a
mountpoint: on a dead or busy one that would fail or wait.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, RepofsError

FILE_SYSTEM_TYPE = "fuse.repofs"
LOCAL_TYPES = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "tmpfs", "xfs", "zfs"})
MOUNTINFO = Path("/proc/self/mountinfo")
DEVICE = Path("/dev/fuse")
DEAD = (errno.ENOTCONN, errno.ECONNABORTED)  # what a mount without a daemon answers; the second while it is dying
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8  # umount(2)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo (proc(5)). *source* is what a repofs mount takes its content from: the repository."""

    id: int
    mountpoint: Path
    type: str
    source: Path

    @property
    def is_repofs(self) -> bool:
        return self.type == FILE_SYSTEM_TYPE


def all_mounts() -> list[Mount]:
    """Return every mount of this process's namespace, in the order of mounting."""
    return [_parse(line) for line in MOUNTINFO.read_bytes().splitlines()]


def _parse(line: bytes) -> Mount:
    """Read ``36 35 98:0 /root /mountpoint options [tags…] - type source super_options``."""
    before, _, after = line.partition(b" - ")
    first, last = before.split(b" "), after.split(b" ")
    return Mount(int(first[0]), _path(first[4]), last[0].decode(), _path(last[1]))


def _path(field: bytes) -> Path:
    """The kernel writes space, tab, newline, backslash and # as three octal digits."""
    return Path(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)))


def at(mountpoint: Path) -> Mount | None:
    """Return the repofs mount, living or dead, whose mountpoint is *mountpoint* (the topmost); None without one."""
    return on(Path(os.path.realpath(mountpoint)))


def on(mountpoint: Path) -> Mount | None:
    """Return what `at` does for a path without symlinks. The mount itself is not asked: it may not answer yet."""
    topmost = next((mount for mount in reversed(all_mounts()) if mount.mountpoint == mountpoint), None)
    return topmost if topmost is not None and topmost.is_repofs else None


def of_repository(repository: Path) -> Mount | None:
    """Return the mount that presents *repository*; None when it is not mounted."""
    wanted = Path(os.path.realpath(repository))
    return next((m for m in reversed(all_mounts()) if m.is_repofs and m.source == wanted), None)


def containing(path: Path) -> Mount | None:
    """Return the repofs mount that *path* (an existing file or directory) lies in; None when it lies in none.

    The kernel is asked for the mount of the open file, so symlinks, bind mounts and mounts over mounts come out right.
    Raises OSError when *path* cannot be opened.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        mount = _holding(descriptor)
    finally:
        os.close(descriptor)
    return mount if mount is not None and mount.is_repofs else None


def is_local(descriptor: int) -> bool:
    """Return whether *descriptor* is on a file system that no other machine changes, so that inotify(7) tells of every
    change, and whose inode numbers stay when it is mounted again. False where that is not known."""
    mount = _holding(descriptor)
    return mount is not None and mount.type in LOCAL_TYPES


def _holding(descriptor: int) -> Mount | None:
    information = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    number = int(re.findall(r"^mnt_id:\s*(\d+)$", information, re.MULTILINE)[0])
    return next((mount for mount in all_mounts() if mount.id == number), None)


def is_dead(mountpoint: Path) -> bool:
    """Return whether *mountpoint* answers "Transport endpoint is not connected": its daemon was killed."""
    try:
        os.statvfs(mountpoint)  # stat(2) is answered from the kernel's cache for as long as attributes are kept
    except OSError as error:
        return error.errno in DEAD
    return False


def detach_dead(mountpoint: Path) -> bool:
    """Detach the repofs mounts that killed daemons left on *mountpoint*; return whether there was one."""
    found = False
    while at(mountpoint) is not None and is_dead(mountpoint):
        unmount(mountpoint, detach=True)
        found = True
    return found


def require_mountable(mountpoint: Path) -> None:
    """Make sure that something can be mounted on *mountpoint*; a dead mount of ours on it is detached.

    Raises RepofsError with a sentence that says what to do.
    """
    if not DEVICE.exists():
        raise NotFound(f"{DEVICE} is missing: load the kernel module with modprobe fuse, as root")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise AccessDenied(f"{DEVICE} cannot be opened by you: ask your administrator for access to it")
    detach_dead(mountpoint)
    if at(mountpoint) is not None:
        raise Busy(f"{mountpoint} is mounted already: end that with repofs umount {mountpoint}")
    if not mountpoint.exists():
        raise NotFound(f"{mountpoint} does not exist: make it with mkdir {mountpoint}")
    if not mountpoint.is_dir():
        raise InvalidValue(f"{mountpoint} is not a directory: a mountpoint is one")
    if Path(__file__).resolve().is_relative_to(mountpoint.resolve()):  # behind the mount it would wait for itself
        raise InvalidValue(f"repofs itself lies in {mountpoint}, which a mount would hide: choose an empty directory")


def unmount(mountpoint: Path, *, detach: bool = False) -> None:
    """End the mount on *mountpoint*: by the system call as root, by fusermount3 as another user.

    *detach* takes it out of the tree now and ends it when its last user has gone (``umount -l``).
    Raises Busy while programs use it, AccessDenied for a mount of somebody else, else RepofsError.
    """
    if os.geteuid() == 0:
        _unmount_as_root(mountpoint, detach)
    else:
        _unmount_as_user(mountpoint, detach)


def _unmount_as_root(mountpoint: Path, detach: bool) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), _UMOUNT_NOFOLLOW | (_MNT_DETACH if detach else 0)) != 0:
        raise _refusal(mountpoint, ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _unmount_as_user(mountpoint: Path, detach: bool) -> None:
    command = ["fusermount3", "-u", *(["-z"] if detach else []), "--", str(mountpoint)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise NotFound("fusermount3 is missing: install it with apt-get install fuse3") from None
    if done.returncode != 0:
        busy = "busy" in done.stderr
        raise _refusal(mountpoint, errno.EBUSY if busy else errno.EPERM, done.stderr.strip())


def _refusal(mountpoint: Path, code: int, words: str) -> RepofsError:
    if code == errno.EBUSY:
        return Busy(
            f"{mountpoint} is in use: leave it and close the programs that use it (fuser -vm {mountpoint} names them)"
        )
    if code == errno.EPERM:
        return AccessDenied(f"{mountpoint} cannot be unmounted by you: {words}")
    return RepofsError(f"{mountpoint} cannot be unmounted: {words}")
