"""Mounting: the options, the checks that give a sentence instead of a libfuse message, the loop, the end."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyfuse3

from repofs import mounts
from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, RepofsError

_NOTHING_CACHED = (errno.ENOENT, errno.ENODEV, errno.ENOTCONN)  # the kernel does not know it, or has unmounted
DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")


class KernelCache:
    """What the kernel keeps of names and attributes, and how it hears of a change that did not come through it."""

    def changed(self, ino: int) -> None:
        """The attributes of *ino* have changed. Never blocks: no bytes are thrown away."""
        try:
            pyfuse3.invalidate_inode(pyfuse3.InodeT(ino), attr_only=True)
        except OSError as error:
            if error.errno not in _NOTHING_CACHED:
                raise


@contextlib.contextmanager
def mounted(
    operations: pyfuse3.Operations, repository: Path, mountpoint: Path, options: Sequence[str]
) -> Iterator[None]:
    """Mount *operations* on *mountpoint* for the time of the context.

    Raises RepofsError with a sentence when that cannot be.
    """
    _require_mountable(mountpoint, options)
    try:
        pyfuse3.init(operations, str(mountpoint), _options(repository, options))
    except RuntimeError as error:  # libfuse has written its own words to the log
        raise RepofsError(
            f"{mountpoint} cannot be mounted: {error}; the daemon's log tells more, just before this"
        ) from error
    try:
        yield
    finally:
        pyfuse3.close(unmount=True)


def _require_mountable(mountpoint: Path, options: Sequence[str]) -> None:
    if not DEVICE.exists():
        raise NotFound(f"{DEVICE} is missing: load the kernel module with modprobe fuse, as root")
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise AccessDenied(f"{DEVICE} cannot be opened by you: ask your administrator for access to it")
    mounts.detach_dead(mountpoint)
    if mounts.at(mountpoint) is not None:
        raise Busy(f"{mountpoint} is mounted already: end that with repofs umount {mountpoint}")
    if not mountpoint.exists():
        raise NotFound(f"{mountpoint} does not exist: make it with mkdir {mountpoint}")
    if not mountpoint.is_dir():
        raise InvalidValue(f"{mountpoint} is not a directory: a mountpoint is one")
    if "allow_other" in options and os.geteuid() != 0 and not _users_may_allow_others():
        raise AccessDenied(f"allow_other needs a line user_allow_other in {FUSE_CONF}: ask your administrator for it")


def _users_may_allow_others() -> bool:
    try:
        lines = FUSE_CONF.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def _options(repository: Path, extra: Sequence[str]) -> set[str]:
    # libfuse splits at commas; the kernel shows the source with spaces as octal digits
    source = str(repository).replace("\\", "\\\\").replace(",", "\\,")
    options = {"default_permissions", f"fsname={source}", "subtype=repofs", *extra}
    if os.geteuid() == 0:
        options.add("allow_other")
    return options


async def serve() -> None:
    """Answer the kernel until the file system is unmounted or `stop` is called."""
    await pyfuse3.main()


def stop() -> None:
    """Let `serve` come to its end."""
    pyfuse3.terminate()
