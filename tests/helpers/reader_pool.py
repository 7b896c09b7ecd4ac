"""The pool of reader processes in tests, and small files for it."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy
import tifffile
import trio

from repofs import config
from repofs.image import Recognised
from repofs.importer.lending import OneFile
from repofs.importer.readers import Readers
from tests.helpers.processes import descendants


def pool(*, workers: int = 1, timeout_seconds: float = 30.0, memory_bytes: int = 256 << 20) -> Readers:
    return Readers(config.Readers(workers=workers, timeout_seconds=timeout_seconds, memory_bytes=memory_bytes))


def made(path: Path, content: bytes) -> int:
    """Return a descriptor of a new file that only its owner may read."""
    path.write_bytes(content)
    path.chmod(0o600)
    return os.open(path, os.O_RDONLY)


def tiff(z: int = 3) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, numpy.zeros((z, 16, 24), "u2"), photometric="minisblack", metadata=None)
    return file.getvalue()


async def read(pool: Readers, fd: int, name: bytes) -> Recognised:
    return await pool.read(name, OneFile(name, fd))


async def deed(pool: Readers, tmp_path: Path, name: str, *words: object) -> Recognised:
    fd = made(tmp_path / f"{name}.wicked", " ".join(map(str, ("WICKED", name, *words))).encode())
    try:
        return await read(pool, fd, f"{name}.wicked".encode())
    finally:
        os.close(fd)


def pids(pool: Readers) -> list[int]:
    """Return the reader processes."""
    assert pool.parent is not None
    return sorted(descendants(pool.parent.process.pid))


async def all_busy(pool: Readers, tmp_path: Path, count: int) -> None:
    """Have *count* files read at a time, so that as many processes are there."""
    async with trio.open_nursery() as nursery:
        for number in range(count):
            directory = tmp_path / str(number)
            directory.mkdir()
            nursery.start_soon(still_works, pool, directory)


async def still_works(pool: Readers, tmp_path: Path) -> None:
    fd = made(tmp_path / "good.tif", tiff())
    assert (await read(pool, fd, b"good.tif")).images[0].size_z == 3
    os.close(fd)
