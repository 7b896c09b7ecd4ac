"""Checksums by OMERO's names and in OMERO's spelling, and two more.

OMERO (`ome.util.checksum`) prints the numbers of Guava, whose bytes are little-endian: its Adler-32 of "abc"
is 27014d02 where zlib's is 024d0127, and its File-Size-64 of three bytes is 0300000000000000.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from typing import Protocol, get_args

import mmh3
from blake3 import blake3

from repofs.config import ChecksumAlgorithm
from repofs.errors import InvalidValue

ALGORITHMS: tuple[str, ...] = get_args(ChecksumAlgorithm)

_BUFFER_BYTES = 1 << 20


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> object: ...
    def digest(self) -> bytes: ...


class _Running:
    """A checksum of zlib as a hash object; *value* begins as zlib's function begins."""

    def __init__(self, function: Callable[[memoryview, int], int], value: int) -> None:
        self._function = function
        self._value = value

    def update(self, data: memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "little")


class _Size:
    """The number of bytes as a hash object. All the same the file is read: what cannot be read is no original."""

    def __init__(self) -> None:
        self._size = 0

    def update(self, data: memoryview, /) -> None:
        self._size += len(data)

    def digest(self) -> bytes:
        return self._size.to_bytes(8, "little")


_NEW: dict[str, Callable[[], _Hash]] = {
    "Adler-32": lambda: _Running(zlib.adler32, 1),
    "CRC-32": lambda: _Running(zlib.crc32, 0),
    "File-Size-64": _Size,
    "MD5-128": lambda: hashlib.md5(usedforsecurity=False),
    "Murmur3-32": mmh3.mmh3_32,
    "Murmur3-128": mmh3.mmh3_x64_128,
    "SHA1-160": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA-256": hashlib.sha256,
    "BLAKE3": blake3,
}


Read = Callable[[int, memoryview, int], int]
"""Fills a buffer from a descriptor at an offset and returns how many bytes have come, 0 at the end."""


def _read(fd: int, buffer: memoryview, offset: int) -> int:
    if offset == 0:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return os.preadv(fd, [buffer], offset)


class Checksum:
    """A checksum under way of a file from its beginning, with *algorithm*: *offset* bytes are in it.

    Raises InvalidValue for an algorithm that is not one of ALGORITHMS.
    """

    def __init__(self, algorithm: str) -> None:
        if algorithm not in _NEW:
            raise InvalidValue(f"{algorithm!r} is no checksum algorithm: allowed are {', '.join(ALGORITHMS)}")
        self.offset = 0
        self._algorithm = algorithm
        self._hashing = _NEW[algorithm]()

    def read_on(self, fd: int, read: Read = _read, most: int | None = None) -> None:
        """Take in what follows in the file of *fd*, to its end or *most* bytes; the offset of *fd* does not move.

        Raises OSError when a read fails.
        """
        left = os.fstat(fd).st_size - self.offset if most is None else most
        buffer = memoryview(bytearray(min(_BUFFER_BYTES, max(left, 0) + 1)))  # + 1: it may have grown
        end = None if most is None else self.offset + most
        while (end is None or self.offset < end) and (count := read(fd, buffer, self.offset)):
            self._hashing.update(buffer[:count])
            self.offset += count

    def __str__(self) -> str:
        """Return it as ``SHA1-160:a9993e36…``."""
        return f"{self._algorithm}:{self._hashing.digest().hex()}"


def checksum(fd: int, algorithm: str, read: Read = _read) -> str:
    """Return the checksum of the whole file of *fd* as ``SHA1-160:a9993e36…``; the offset of *fd* does not move.

    Raises InvalidValue for an algorithm that is not one of ALGORITHMS, OSError when a read fails.
    """
    whole = Checksum(algorithm)
    whole.read_on(fd, read)
    return str(whole)
