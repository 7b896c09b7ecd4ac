"""A Zarr hierarchy, version 2 or 3, whose files are asked for one by one, read by zarr.

zarr is asyncio inside; everything here runs in an `InlineLoop`. Nothing lists a directory: an array of a million
chunks costs as much as one of ten.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import numcodecs.blosc
import numpy
from zarr import AsyncArray
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.registry import get_codec_class
from zarr.storage import StorePath

from repofs.formats.ome_zarr.inline_loop import InlineLoop
from repofs.formats.outcome import Fault
from repofs.formats.reader import Files

_MAX_METADATA_BYTES = 16 << 20

_V3_DOCUMENT, _V2_DOCUMENTS = "zarr.json", (".zgroup", ".zarray", ".zattrs")

# zarr loads each codec when an array first names it, and blosc makes its lock when it first unpacks: too late for a
# confined process.
for _codec in ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "vlen-bytes", "vlen-utf8", "zstd"):
    get_codec_class(_codec)
numcodecs.blosc.get_mutex()
numcodecs.blosc.use_threads = False  # of its own, with stacks and a pool that outlive the file


def is_zarr(name: str, files: Files) -> bool:
    """Return whether the directory *name*, with its slash, is a Zarr group or array."""
    return any(files.has(name + document) for document in (_V3_DOCUMENT, *_V2_DOCUMENTS))


class Hierarchy:
    """The groups and arrays below the directory *root*, which ends in a slash. Paths are below it; "" is itself."""

    def __init__(self, files: Files, root: str) -> None:
        self._files = files
        self._root = root
        self._store = _FilesStore(files, root)
        version_3 = files.has(root + _V3_DOCUMENT)
        self._array_document = _V3_DOCUMENT if version_3 else ".zarray"
        self._attributes_document = _V3_DOCUMENT if version_3 else ".zattrs"

    def attributes(self, path: str) -> dict[str, Any]:
        """Return the attributes at *path*, none when nothing is there. Raises Fault, OSError."""
        found = self._document(path, self._attributes_document) or {}
        if self._attributes_document == _V3_DOCUMENT:
            found = found.get("attributes", {})
        return found if isinstance(found, dict) else {}

    def has_array(self, path: str) -> bool:
        return self._files.has(self._root + self._name(path, self._array_document))

    def array(self, path: str) -> AsyncArray[Any]:
        """Return the array at *path*, of which only the metadata is read. Raises Fault, OSError."""
        metadata = self._document(path, self._array_document)
        if metadata is None:
            raise Fault(f"the array {path} is not there")
        with _faults(path):
            return AsyncArray(cast(Any, metadata), StorePath(self._store, path))

    def text(self, path: str, most: int) -> str | None:
        """Return the file at *path*, None when there is none. Raises Fault when it is longer than *most* bytes."""
        file = _opened(self._files, self._root + path)
        if file is None:
            return None
        with file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise Fault(f"{path} is longer than {most >> 20} MiB")
        return raw.decode("utf-8", "replace")

    def _document(self, path: str, document: str) -> dict[str, Any] | None:
        name = self._name(path, document)
        words = self.text(name, _MAX_METADATA_BYTES)
        if words is None:
            return None
        with _faults(name):
            found = json.loads(words)
        if not isinstance(found, dict):
            raise Fault(f"{name} holds no object")
        return found

    def _name(self, path: str, document: str) -> str:
        try:
            place = StorePath(self._store, path).path
        except ValueError as error:
            raise Fault(f"it names {path!r}, which is not below it") from error
        return f"{place}/{document}" if place else document


def samples(array: AsyncArray[Any], selection: tuple[slice | int, ...]) -> numpy.ndarray:
    """Return the *selection* of *array*, by reading the chunks that it touches. Raises Fault, OSError."""
    with _faults(array.path):
        return numpy.asarray(InlineLoop().run_until_complete(array.getitem(selection)))  # type: ignore[abstract]


@contextmanager
def _faults(path: str) -> Iterator[None]:
    """Raise Fault for what zarr raises of the bytes at *path*."""
    try:
        yield
    except (OSError, MemoryError):
        raise
    except Exception as error:  # zarr has no class for metadata and chunks that make no sense
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise Fault(f"{path} cannot be read ({what})") from error


def _opened(files: Files, name: str) -> BinaryIO | None:
    """Return the file *name*, None when there is none."""
    try:
        return files.open(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        if files.has(name):
            raise
        return None  # what is not of the fileset is refused, whether it is there or not


class _FilesStore(Store):
    """The hierarchy in the directory *root*, which ends in a slash, to be read only."""

    supports_writes = False
    supports_deletes = False
    supports_listing = False

    def __init__(self, files: Files, root: str) -> None:
        super().__init__(read_only=True)
        self._files = files
        self._root = root

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _FilesStore) and (self._files, self._root) == (other._files, other._root)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return the bytes of a chunk, None when there is none."""
        file = _opened(self._files, self._root + key)
        if file is None:
            return None
        with file:
            start, stop = _span(byte_range, file.seek(0, os.SEEK_END))
            file.seek(start)
            return prototype.buffer.from_bytes(file.read(stop - start))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self._files.has(self._root + key)

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()

    async def delete(self, key: str) -> None:
        self._check_writable()

    def list(self) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        raise NotImplementedError


def _span(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    match byte_range:
        case RangeByteRequest(start, end):
            return start, max(start, end)
        case OffsetByteRequest(offset):
            return offset, max(offset, size)
        case SuffixByteRequest(suffix):
            return max(0, size - suffix), size
    return 0, size
