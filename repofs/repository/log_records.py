"""Records: lines in the log of an import, signed, that say all that the catalogue knows of it.

    2026-11-22T21:15:03.131Z Fileset:17, OriginalFile:55, Image:101
    record tJ3…Fw eJyrVk…

The last line that is right counts; one is added when something has changed. What is in them is `catalog.records`' to
know. They cost no inode, and of most imports no block either: the log has room.
"""

from __future__ import annotations

import os
from typing import Any

from repofs.repository.signing import Signer

NAME = b"record"


class LogRecords:
    """Reads and writes the records of one repository."""

    def __init__(self, key: bytes) -> None:
        self._signer = Signer(key, NAME)

    def added(self, log: str, record: object) -> bytes:
        """Return the text of a *log* with *record*, a value of the types that JSON has, as its last line."""
        return log.encode("utf-8", "surrogateescape") + self.lines(record)

    def lines(self, *records: object) -> bytes:
        """Return the lines of *records*, each with its end."""
        return b"".join(NAME + b" " + self._signer.pack(record) + b"\n" for record in records)

    def read(self, path: bytes) -> list[Any]:
        """Return the records in the log at *path* that are right, oldest first. Raises OSError."""
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as log:
            lines = [line.rstrip(b"\n").removeprefix(NAME + b" ") for line in log if line.startswith(NAME + b" ")]
        return [record for line in lines if (record := self._signer.unpack(line)) is not None]
