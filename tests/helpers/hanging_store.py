"""A store that hangs when it is told to: a file system that shows a directory, read-only.

``python -m tests.helpers.hanging_store DIRECTORY MOUNTPOINT``. While DIRECTORY/hang is there, requests for the bytes of
a file wait; those for names and attributes are answered, as a network share does from its cache.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyfuse3
import trio

from tests.helpers.waiting import until

SWITCH = "hang"
_LOOK_SECONDS = 0.05
_FIELDS = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns", "st_atime_ns")


class Store(pyfuse3.Operations):
    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self._paths: dict[int, Path] = {pyfuse3.ROOT_INODE: directory}

    def _attributes(self, path: Path, ino: int) -> pyfuse3.EntryAttributes:
        found = path.stat()
        answer = pyfuse3.EntryAttributes()
        answer.st_ino = pyfuse3.InodeT(ino)
        for field in _FIELDS:
            setattr(answer, field, getattr(found, field))
        answer.attr_timeout = answer.entry_timeout = 300.0
        return answer

    async def lookup(self, parent: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        path = self._paths[parent] / os.fsdecode(name)
        if not path.exists():
            raise pyfuse3.FUSEError(errno.ENOENT)
        ino = path.stat().st_ino
        self._paths[ino] = path
        return self._attributes(path, ino)

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(self._paths[inode], inode)

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(os.open(self._paths[inode], os.O_RDONLY)), direct_io=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        while (self._directory / SWITCH).exists():  # noqa: ASYNC110 - another process makes it
            await trio.sleep(_LOOK_SECONDS)
        return os.pread(fh, size, off)

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        os.close(fh)


@contextlib.contextmanager
def hanging_store(directory: Path, mountpoint: Path) -> Iterator[Path]:
    """Show *directory* at *mountpoint*; yield what makes it hang while it exists."""
    process = subprocess.Popen([sys.executable, "-m", __name__, directory, mountpoint])
    switch = directory / SWITCH
    try:
        until(lambda: os.path.ismount(mountpoint), "mounted")
        yield switch
    finally:
        switch.unlink(missing_ok=True)
        subprocess.run(["umount", "--lazy", mountpoint], check=False)
        process.wait(timeout=20)


def main() -> None:
    directory, mountpoint = sys.argv[1:]
    options = {"fsname=hanging_store", "allow_other", "default_permissions", "ro"}
    pyfuse3.init(Store(Path(directory)), mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)


if __name__ == "__main__":
    main()
