"""The files that an OIF or OIB consists of: settings and one TIFF for each plane.

An OIB is a compound document (OLE2) of the same files as an OIF and its folder; "OibInfo.txt" in it tells under what
names. oiffile reads both, but opens compound documents by their path and follows a circular chain of sectors for ever:
here it is given the file, and chains that end.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

import oiffile

from repofs.formats.outcome import CUT_HEADER, Fault
from repofs.formats.reader import Files

MAX_SETTINGS_BYTES = 16 << 20
MAX_STREAM_BYTES = 1 << 28

_SECTOR_BYTES = 512  # at least

Settings = dict[str, dict[str, object]]


class Compound(oiffile.CompoundFile):
    """A compound document in *file*. Raises Fault."""

    def __init__(self, file: BinaryIO) -> None:
        self._fh = cast(io.BufferedReader, file)
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(76)
        if len(head) < 76:
            raise Fault(CUT_HEADER)
        tables = struct.unpack_from("<2I16xI4xI", head, 40)  # sectors of the directory and of the tables
        if max(tables) * _SECTOR_BYTES > self._size:
            raise Fault("its tables of sectors are larger than the file: it is damaged or not whole")
        file.seek(0)
        try:
            self._fromfile()
        except (ValueError, IndexError, struct.error, NotImplementedError, RecursionError) as error:
            raise Fault(f"its directory cannot be read ({error!s:.100})") from error

    def _sec_chain(self, secid: int, /) -> Generator[bytes]:
        for sector in self._chain(secid, self._fat):
            yield self._sec_read(sector)

    def _mini_sec_chain(self, secid: int, /) -> Generator[bytes]:
        for sector in self._chain(secid, self._minifat):
            yield self._mini_sec_read(sector)

    def _chain(self, sector: int, table: list[int]) -> Iterator[int]:
        """Yield the sectors of a chain, each once: what comes back to an earlier one ends there."""
        seen: set[int] = set()
        while sector < len(table) and sector not in seen:
            seen.add(sector)
            yield sector
            sector = table[sector]

    def is_whole(self, name: str) -> bool:
        """Whether all sectors of the stream *name* are in the file."""
        entry = self.direntry(name)
        if entry.stream_size < self.mini_stream_cutoff_size:
            sectors = sum(1 for _ in self._chain(entry.sector_start, self._minifat))
            return sectors * self.short_sec_size >= entry.stream_size
        chain = list(self._chain(entry.sector_start, self._fat))
        inside = not chain or (max(chain) + 2) * self.sec_size <= self._size
        return inside and len(chain) * self.sec_size >= entry.stream_size

    def stream(self, name: str, most: int) -> bytes:
        """Return the bytes of the stream *name*. Raises Fault where there are more than *most*, or too few."""
        if self.direntry(name).stream_size > most:
            raise Fault(f"its part {name} is larger than {most >> 20} MiB")
        if not self.is_whole(name):
            raise Fault(f"its part {name} is not all in the file")
        return self._read_stream(self.direntry(name))


def settings(raw: bytes, name: str) -> Settings:
    """Return the sections of a settings file. Raises Fault."""
    try:
        return dict(oiffile.SettingsFile(io.BytesIO(raw), name))
    except (ValueError, LookupError) as error:
        raise Fault(f"its settings {name} cannot be read ({error!s:.100})") from error


def oib_names(compound: Compound) -> tuple[str, dict[str, str]]:
    """Return what the main settings are called, and the stream of each file by its name. Raises Fault."""
    streams = {name.rsplit("/", 1)[-1]: name for name in compound.files()}
    if "OibInfo.txt" not in streams:
        raise Fault("it is a compound document without OibInfo.txt, which is no OIB")
    info = settings(compound.stream(streams["OibInfo.txt"], MAX_SETTINGS_BYTES), "OibInfo.txt").get("OibSaveInfo", {})
    named = {key: str(value).replace("\\", "/") for key, value in info.items()}
    found = {
        named[key].rsplit("/", 1)[-1]: streams[key] for key in named if key.startswith("Stream") and key in streams
    }
    main = named.get(named.get("MainFileName", ""), "").rsplit("/", 1)[-1]
    if main not in found:
        raise Fault("its OibInfo.txt names no main file")
    return main, found


class OibParts:
    """The files inside an OIB."""

    def __init__(self, file: BinaryIO) -> None:
        self._compound = Compound(file)
        name, self._streams = oib_names(self._compound)
        self.main = settings(self.bytes_of(name), name)
        self.names = sorted(self._streams)

    def bytes_of(self, name: str) -> bytes:
        """Return the file *name*. Raises Fault."""
        return self._compound.stream(self._streams[name], MAX_STREAM_BYTES)

    def has_bytes(self, name: str, count: int) -> bool:
        """Whether the file *name* is all there, and has at least *count* bytes."""
        stream = self._streams[name]
        return self._compound.is_whole(stream) and bool(self._compound.direntry(stream).stream_size >= count)


class OifParts:
    """The files in the folder of an OIF."""

    def __init__(self, name: str, files: Files) -> None:
        self._files = files
        self._folder = f"{name}.files"
        self.main = main_settings(name, files)
        self.names = [one for one in files.names(self._folder) if not one.endswith("/")]

    def bytes_of(self, name: str) -> bytes:
        """Return the file *name*. Raises Fault."""
        return _bytes_of(f"{self._folder}/{name}", self._files, MAX_STREAM_BYTES)

    def has_bytes(self, name: str, count: int) -> bool:
        """Whether the file *name* has at least *count* bytes."""
        with self._files.open(f"{self._folder}/{name}") as file:
            return file.seek(0, os.SEEK_END) >= count


@contextmanager
def parts(name: str, files: Files) -> Iterator[OibParts | OifParts]:
    """Return what the file *name* consists of, for as long as it is open. Raises Fault."""
    if name.lower().endswith(".oif"):
        yield OifParts(name, files)
        return
    with files.open(name) as file:
        yield OibParts(file)


def main_settings(name: str, files: Files) -> Settings:
    """Return the settings in the OIF *name*. Raises Fault."""
    return settings(_bytes_of(name, files, MAX_SETTINGS_BYTES), name)


def _bytes_of(name: str, files: Files, most: int) -> bytes:
    with files.open(name) as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Fault(f"its file {name} is larger than {most >> 20} MiB")
    return raw
