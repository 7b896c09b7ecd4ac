"""Links to what has failed: below `.repofs/failed/` in the mount, a directory for each user directory.

They lie in the backing tree as they are shown, so that they outlive the daemon.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from repofs.repository.layout import Layout

_UP = b"../../../"  # from a link to the root of the mount


class FailedLinks:
    """The links of one repository. Paths are below the mount."""

    def __init__(self, layout: Layout) -> None:
        self._directory = os.fsencode(layout.failed)

    def all(self) -> Iterator[tuple[bytes, bytes, bytes, int]]:
        """Yield each link: its user directory, its name, the path that it leads to, and the gid that it bears."""
        for user in os.listdir(self._directory):
            with os.scandir(os.path.join(self._directory, user)) as names:
                for entry in names:
                    if entry.is_symlink():
                        gid = entry.stat(follow_symlinks=False).st_gid
                        yield user, entry.name, os.readlink(entry.path).removeprefix(_UP), gid

    def put(self, user: bytes, name: bytes, path: bytes, gid: int) -> None:
        """Make the link *name* to *path*, for who may see data of the group *gid*. FileExistsError when it is taken."""
        directory = os.path.join(self._directory, user)
        link = os.path.join(directory, name)
        os.symlink(_UP + path, link)
        if os.geteuid() == 0:
            os.chown(link, os.stat(directory).st_uid, gid, follow_symlinks=False)

    def remove(self, user: bytes, name: bytes) -> None:
        """Take a link away. FileNotFoundError when there is none."""
        os.unlink(os.path.join(self._directory, user, name))
