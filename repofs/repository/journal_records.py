"""The file of the journal (`namespace.journal` says what a record is), read and added to while no daemon runs."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import structlog

log = structlog.get_logger()

ALL = [(True, b"")]


def next_of(path: Path) -> Path:
    """Return where the journal *path* is while it is written anew; what stands there is read after the other."""
    return path.with_name(f"{path.name}.new")


def left(path: Path) -> list[tuple[bool, bytes]]:
    """Return what stood when the last daemon ended: whether also what is below, and where; ALL when nobody can tell."""
    standing: Counter[tuple[bytes, bytes]] = Counter()
    try:
        records = path.read_bytes()
    except FileNotFoundError:
        return ALL
    if next_of(path).exists():
        records += next_of(path).read_bytes()
    for record in records.split(b"\0")[:-1]:  # what follows the last NUL was not written to its end
        kind, where = record[:1], record[2:]
        if kind not in (b"d", b"t", b"D", b"T"):
            log.error("the journal is damaged: all of the repository is looked at", journal=str(path))
            return ALL
        standing[kind.lower(), where] += 1 if kind.islower() else -1
    return [(kind == b"t", where) for (kind, where), count in standing.items() if count > 0]


def look_at(path: Path, directory: bytes) -> None:
    """Have the next daemon look at *directory*, below the mount."""
    records = path.read_bytes()
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        end = records.rfind(b"\0") + 1  # what follows was not written to its end
        os.truncate(fd, end)
        os.pwrite(fd, b"d " + directory + b"\0", end)
        os.fsync(fd)
    finally:
        os.close(fd)
