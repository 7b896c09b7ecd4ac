"""Serving a mount, and mounting where no launcher has: the options, sentences for people, the loop, the end."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyfuse3

from repofs import mounts
from repofs.errors import AccessDenied, RepofsError
from repofs.fuse import loop, native

_NOTHING_CACHED = (errno.ENOENT, errno.ENODEV, errno.ENOTCONN)  # the kernel does not know it, or has unmounted
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

    def names_gone(self, names: Sequence[tuple[int, bytes]]) -> None:
        """These names, each in the directory of an inode number, are not there any more.

        Blocks while a request about one of the directories is under way: never to be called by one, nor on the loop.
        """
        for ino, name in names:
            try:
                pyfuse3.invalidate_entry(pyfuse3.InodeT(ino), pyfuse3.FileNameT(name))
            except OSError as error:  # ENOTDIR: the directory is gone, and a new file has its inode number
                if error.errno not in (*_NOTHING_CACHED, errno.ENOTDIR):
                    raise


@contextlib.contextmanager
def mounted(
    operations: pyfuse3.Operations,
    repository: Path,
    mountpoint: Path,
    options: Sequence[str],
    device: int | None,
    *,
    passthrough: bool,
) -> Iterator[None]:
    """Mount *operations* on *mountpoint* for the time of the context; with *device*, the launcher has done so.

    *passthrough*: the kernel is asked for it, where the launcher can do its part. Raises RepofsError with a sentence
    when it cannot be mounted.
    """
    if passthrough and device is not None and native is not None:
        native.wish()
    if device is None:
        mounts.require_mountable(mountpoint)
        _require_allowed(options)
    try:
        # libfuse takes this name for a descriptor that is mounted already, and leaves unmounting to whoever did that
        pyfuse3.init(
            operations, str(mountpoint) if device is None else f"/dev/fd/{device}", _options(repository, options)
        )
    except RuntimeError as error:  # libfuse has written its own words to the log
        raise RepofsError(
            f"{mountpoint} cannot be mounted: {error}; the daemon's log tells more, just before this"
        ) from error
    try:
        yield
    finally:
        pyfuse3.close(unmount=True)


def why_no_passthrough(*, wanted: bool, device: bool) -> str | None:
    """Return why the kernel reads no file by itself, as a sentence, or None when it does: known once it has mounted.

    *wanted* by the settings; *device*: the launcher has mounted it.
    """
    if not wanted:
        return 'mount.passthrough is "off" in the settings'
    if not device:
        return "it is for mounts that root makes"
    if native is None:
        return "its native module was not built when repofs was installed: there was no compiler, or no libfuse 3.14"
    return {
        True: None,
        False: f"Linux {os.uname().release} does not offer it: 6.9 and newer do",
        None: "pyfuse3 was built with a libfuse of its own, past which its native module cannot reach",
    }[native.agreed()]


def _require_allowed(options: Sequence[str]) -> None:
    if "allow_other" in options and not _users_may_allow_others():
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
    return {"default_permissions", f"fsname={source}", "subtype=repofs", *extra}


async def serve() -> None:
    """Answer the kernel until the file system is unmounted or `stop` is called."""
    with loop.in_bursts():
        await pyfuse3.main()


def stop() -> None:
    """Let `serve` come to its end."""
    pyfuse3.terminate()
