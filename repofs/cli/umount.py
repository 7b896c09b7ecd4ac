"""repofs umount: end a mount, living or dead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from repofs import mounts
from repofs.errors import NotFound


def umount(
    mountpoint: Annotated[
        Path, typer.Argument(metavar="MOUNTPOINT", readable=False, help="Where the repository is mounted.")
    ],
) -> None:
    """Unmount a repository; returns when its daemon has ended."""
    from repofs.cli import lock_holder
    from repofs.repository.layout import Layout

    mount = mounts.at(mountpoint)
    if mount is None:
        raise NotFound(f"{mountpoint} is not the mountpoint of a repository")
    if mounts.detach_dead(mount.mountpoint):
        print(f"{mountpoint} was a dead mount, left by a daemon that was killed: detached")
        return
    daemon = lock_holder.find(Layout(mount.source).lock)
    mounts.unmount(mount.mountpoint)
    if daemon is not None:
        lock_holder.wait_end(daemon)
    print(f"{mountpoint} is unmounted")
