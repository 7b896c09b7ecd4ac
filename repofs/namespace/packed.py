"""Files of which no more is known than where they lie and how often the kernel refers to them: some tens of bytes each.

A record is one bytes object: the kernel's references, the generation, and for each name the number of its directory,
the name's length and the name.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

MOST = 2**32 - 1  # references, and generations, that a record can count
_HEAD = Struct("<II")
_NAME = Struct("<QB")
_ONE = _HEAD.pack(1, 0)
_PAGE_BITS = 4  # what lies in one directory has neighbouring numbers: 16 of them share an entry of a dict
_SLOT = (1 << _PAGE_BITS) - 1
_STALE = 64

Place = tuple[int, bytes]  # the number of a directory, and a name in it


class Record(NamedTuple):
    """One file."""

    lookups: int
    generation: int
    places: list[Place]


class _Leaves:
    """Numbers of packed files in one directory; some come twice, or are not there any more."""

    __slots__ = ("count", "numbers")

    def __init__(self) -> None:
        self.count = 0  # names that are there
        self.numbers = array("Q")


class Packed:
    """All packed files of one mount, by inode number."""

    def __init__(self) -> None:
        self._pages: dict[int, list[bytes | None]] = {}
        self._leaves: dict[int, _Leaves] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for number, page in self._pages.items():
            yield from (number << _PAGE_BITS | slot for slot, one in enumerate(page) if one is not None)

    def _record(self, ino: int) -> bytes | None:
        page = self._pages.get(ino >> _PAGE_BITS)
        return None if page is None else page[ino & _SLOT]

    def has(self, ino: int) -> bool:
        return self._record(ino) is not None

    def get(self, ino: int) -> Record | None:
        """Return what is known of *ino*, None when it is not packed."""
        record = self._record(ino)
        if record is None:
            return None
        lookups, generation = _HEAD.unpack_from(record)
        return Record(lookups, generation, _places(record))

    def add(self, ino: int, lookups: int, generation: int, places: Sequence[Place]) -> None:
        """Pack *ino*, which is not packed yet."""
        self._put(ino, _HEAD.pack(lookups, generation) + b"".join(_packed(*place) for place in places))
        for directory, _ in places:
            self._joins(directory, ino)

    def refer(self, ino: int, directory: int, name: bytes) -> int | None:
        """Count one reference to *ino*, found as *name* in *directory* and known by no other name, if it is packed.

        Returns its generation; None when it is not packed, or not so.
        """
        record = self._record(ino)
        if record is None or record[_HEAD.size :] != _packed(directory, name):
            return None
        lookups, generation = _HEAD.unpack_from(record)
        if lookups == MOST:
            return None
        self._pages[ino >> _PAGE_BITS][ino & _SLOT] = _HEAD.pack(lookups + 1, generation) + record[_HEAD.size :]
        return int(generation)

    def add_one(self, ino: int, directory: int, name: bytes) -> None:
        """Pack *ino*, which is known by one name and has one reference."""
        self._put(ino, _ONE + _packed(directory, name))
        self._joins(directory, ino)

    def forget(self, ino: int, lookups: int) -> Sequence[int] | None:
        """Take back *lookups* references to *ino*.

        Returns the directories in which nothing is packed any more for that; None when *ino* is not packed.
        """
        record = self._record(ino)
        if record is None:
            return None
        left, generation = _HEAD.unpack_from(record)
        if left <= lookups:
            return self.remove(ino)
        self._pages[ino >> _PAGE_BITS][ino & _SLOT] = _HEAD.pack(left - lookups, generation) + record[_HEAD.size :]
        return ()

    def remove(self, ino: int) -> Sequence[int]:
        """Take out *ino*, which is packed. Returns the directories in which nothing is packed any more for that."""
        number, slot = ino >> _PAGE_BITS, ino & _SLOT
        page = self._pages[number]
        record, page[slot] = page[slot], None
        assert record is not None
        self._count -= 1
        if not any(page):
            del self._pages[number]
        return [directory for directory, _ in _places(record) if self._leaves_one(directory)]

    def is_in(self, directory: int) -> bool:
        """Whether something in *directory* is packed."""
        return directory in self._leaves

    def files_in(self, directory: int) -> set[int]:
        """Return the numbers of all in *directory* that are packed."""
        leaves = self._leaves.get(directory)
        return set() if leaves is None else {ino for ino in leaves.numbers if self._lies_in(ino, directory)}

    def _lies_in(self, ino: int, directory: int) -> bool:
        record = self._record(ino)
        return record is not None and any(directory == number for number, _ in _places(record))

    def _put(self, ino: int, record: bytes) -> None:
        page = self._pages.get(ino >> _PAGE_BITS)
        if page is None:
            page = self._pages[ino >> _PAGE_BITS] = [None] * (_SLOT + 1)
        page[ino & _SLOT] = record
        self._count += 1

    def _joins(self, directory: int, ino: int) -> None:
        leaves = self._leaves.get(directory)
        if leaves is None:
            leaves = self._leaves[directory] = _Leaves()
        leaves.count += 1
        leaves.numbers.append(ino)
        if len(leaves.numbers) > 2 * leaves.count + _STALE:
            leaves.numbers = array("Q", self.files_in(directory))

    def _leaves_one(self, directory: int) -> bool:
        """A name in *directory* is packed no more; return whether it was the last."""
        leaves = self._leaves[directory]
        leaves.count -= 1
        if leaves.count == 0:
            del self._leaves[directory]
        return leaves.count == 0


def _packed(directory: int, name: bytes) -> bytes:
    return _NAME.pack(directory, len(name)) + name


def _places(record: bytes) -> list[Place]:
    places, at = [], _HEAD.size
    while at < len(record):
        directory, length = _NAME.unpack_from(record, at)
        at += _NAME.size + length
        places.append((directory, record[at - length : at]))
    return places
