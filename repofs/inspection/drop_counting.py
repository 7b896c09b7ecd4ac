"""How many bytes the drops hold, counted from the files themselves: what a mount has written down must be the same."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from repofs.config import Settings
from repofs.model import Original
from repofs.quotas import Held
from repofs.repository import stand_ins, templates
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import ORIGINAL_BIT, Marks
from repofs.repository.trees import opened, walk


def count(layout: Layout, settings: Settings) -> list[Held]:
    """Return what drops hold, by user directory and Unix group. The repository has no daemon. Raises OSError."""
    reserved = templates.reserved(layout, settings.repository.template)
    marks = Marks(load_key(layout))
    found: dict[tuple[bytes, int], Held] = {}
    for entry in os.scandir(os.fsencode(layout.managed)):
        if not entry.is_dir(follow_symlinks=False) or entry.name.startswith(b"."):
            continue
        sizes: dict[int, tuple[int, int]] = {}
        with opened(entry.path) as top:
            for directory, names, files, fd in walk(top):
                if not directory:
                    names[:] = [name for name in names if not reserved.fullmatch(name)]
                sizes.update(_drops(fd, files, marks))
        for gid, size in sizes.values():
            before = found.get((entry.name, gid), Held(entry.name, gid))
            found[entry.name, gid] = Held(entry.name, gid, before.drops + size, before.drop_files + 1)
    return list(found.values())


def _drops(directory: int, names: list[bytes], marks: Marks) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield inode, and gid and size, of each drop with bytes of its own among *names*."""
    for name in names:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            continue
        path = b"/proc/self/fd/%d/%s" % (directory, name)
        original = status.st_mode & ORIGINAL_BIT and isinstance(marks.read(path), Original)
        if not original and stand_ins.bytes_elsewhere(path, marks) is None:
            yield status.st_ino, (status.st_gid, status.st_size)
