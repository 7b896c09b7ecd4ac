"""Logs of drops that were not imported: below `.repofs/log/` in the mount, readable by their owner."""

from __future__ import annotations

import os
from collections.abc import Iterable

from repofs.repository.layout import Layout


class FailureLogs:
    """The failure logs of one repository."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def write(self, user_directory: bytes, name: str, lines: Iterable[str], uid: int, gid: int) -> str:
        """Write the log *name* of a drop in *user_directory*, over an older one; return its path in the mount.

        Only *uid* (the drop's owner) can enter the directory of logs.
        """
        directory = self._layout.failure_logs / os.fsdecode(user_directory)
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / f"{name}.log"
        path.unlink(missing_ok=True)  # it is read-only for its owner too
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")
        path.chmod(0o400)
        if os.geteuid() == 0:
            os.chown(directory, uid, gid)
            os.chown(path, uid, gid)
        return str(path.relative_to(self._layout.managed))
