"""What is held of whom: the words in which mount and importer process count bytes, and sizes as people read them.

Of a file its size counts, as `ls -l` shows it, once, whatever the number of its names. `docs/howto/quotas.md` says what
counts for whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from repofs.errors import QuotaExceeded
from repofs.model import Transfer

WARN_PERCENT = 90
LEFT_OUTSIDE = (Transfer.LN, Transfer.LN_S)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one Unix group in one user directory; or, signed, by how much that has changed."""

    user_directory: bytes
    gid: int  # as the inodes bear it, of originals their fileset's
    drops: int = 0  # bytes
    drop_files: int = 0
    originals: int = 0  # bytes, those in the trash too
    original_files: int = 0
    coming: int = 0  # bytes that an import under way is about to copy


def counted(size: int, transfer: str) -> int:
    """Return how many bytes an original of *size* counts: none when its bytes are in the first place outside."""
    return 0 if transfer in LEFT_OUTSIDE else size


def less(held: Iterable[Held]) -> list[Held]:
    """Return what changes when all of *held* is there no more."""
    return [Held(one.user_directory, one.gid, *(-number for number in _numbers(one))) for one in held]


def summed(changes: Iterable[Held]) -> list[Held]:
    """Return *changes* as one of each user directory and group."""
    sums: dict[tuple[bytes, int], list[int]] = {}
    for one in changes:
        so_far = sums.setdefault((one.user_directory, one.gid), [0] * 5)
        for position, number in enumerate(_numbers(one)):
            so_far[position] += number
    return [Held(*whose, *numbers) for whose, numbers in sums.items()]


def _numbers(one: Held) -> tuple[int, int, int, int, int]:
    return one.drops, one.drop_files, one.originals, one.original_files, one.coming


def exceeded(whose: str, limit: int) -> QuotaExceeded:
    """Return the refusal of what would make *whose* data more than *limit* bytes."""
    return QuotaExceeded(
        f"the quota of {whose} is {human_bytes(limit)}, and this would be more: remove something, empty the trash,"
        " or ask an administrator for more (repofs quota set)"
    )


def human_bytes(size: int) -> str:
    """Return *size* in bytes as people read it: "512 B", "1.5 MiB"."""
    amount = float(size)
    for unit in _UNITS[:-1]:
        if abs(amount) < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {_UNITS[-1]}"
