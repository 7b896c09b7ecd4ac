"""The file of the journal (`namespace.journal` says what a record is), read and added to while no daemon runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import structlog

from repofs.repository.trees import is_within

log = structlog.get_logger()

ALL = [(True, b"")]
_BOOT = Path("/proc/sys/kernel/random/boot_id")
MOVED, NOT_MOVED = b"M\0", b"N\0"
_BETWEEN = b"//"  # is in no path

Key = tuple[bytes, bytes]
"""The kind of a record, and its path."""

Standing = Counter[Key]
_Moved = tuple[Key, Key, int]
"""What stood, what that becomes, and how often."""


def next_of(path: Path) -> Path:
    """Return where the journal *path* is while it is written anew; what stands there is read after the other."""
    return path.with_name(f"{path.name}.new")


def moving(ways: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the record that directories are renamed: for each its path and the one to be."""
    return b"m " + _BETWEEN.join(path for way in ways for path in way) + b"\0"


def this_boot() -> bytes:
    """Return by what the machine's present life is known."""
    return _BOOT.read_bytes().strip()


def booted(boot: bytes) -> bytes:
    """Return the record that every file which waited before *boot* was looked at for lost bytes."""
    return b"b " + boot + b"\0"


def boot_of(path: Path) -> bytes | None:
    """Return the boot of the last such record in the journal *path*; None when it has none."""
    files = [file.read_bytes() for file in (path, next_of(path)) if file.exists()]
    boots = [record[2:] for file in files for record in file.split(b"\0")[:-1] if record.startswith(b"b ")]
    return boots[-1] if boots else None


def left(path: Path) -> list[tuple[bool, bytes]]:
    """Return what stood when the last daemon ended: whether also what is below, and where; ALL when nobody can tell."""
    try:
        files = [path.read_bytes()]
    except FileNotFoundError:
        return ALL
    if next_of(path).exists():
        files.append(next_of(path).read_bytes())
    standing: Standing = Counter()
    moves: list[list[_Moved]] = []
    for records in files:
        for record in records.split(b"\0")[:-1]:  # what follows the last NUL was not written to its end
            if not _take_in(record, standing, moves):
                log.error("the journal is damaged: all of the repository is looked at", journal=str(path))
                return ALL
    return [(kind == b"t", where) for (kind, where), count in standing.items() if count > 0]


def _take_in(record: bytes, standing: Standing, moves: list[list[_Moved]]) -> bool:
    """Take *record* into what is *standing*; return whether it is one."""
    kind, where = record[:1], record[2:]
    match kind:
        case b"d" | b"t" | b"D" | b"T":
            standing[kind.lower(), where] += 1 if kind.islower() else -1
        case b"m":
            moved = _moved(where.split(_BETWEEN), standing)
            for _, new, count in moved:
                standing[new] += count
            moves.append(moved)
        case b"M" | b"N" if moves:
            for old, new, count in moves.pop():
                standing[old if kind == b"M" else new] -= count
        case b"b":
            pass
        case _:
            return False
    return True


def _moved(names: Sequence[bytes], standing: Standing) -> list[_Moved]:
    """Return what is *standing* at or below each first of two *names*."""
    return [
        ((kind, where), (kind, new + where[len(old) :]), count)
        for old, new in zip(names[::2], names[1::2], strict=False)
        for (kind, where), count in standing.items()
        if count > 0 and is_within(where, old)
    ]


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
