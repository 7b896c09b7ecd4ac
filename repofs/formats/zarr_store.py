"""A Zarr hierarchy, version 2 or 3, whose files are asked for one by one, read by zarr.

zarr is asyncio inside; everything here runs in an `InlineLoop`. Nothing lists a directory: an array of a million
chunks costs as much as one of ten.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any, Literal, TypeVar

import numcodecs.blosc
import numpy
from zarr import AsyncArray, AsyncGroup
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.registry import get_codec_class
from zarr.storage import StorePath

from repofs.formats.inline_loop import InlineLoop
from repofs.formats.reader import Files

MAX_METADATA_BYTES = 16 << 20

_V3_DOCUMENT, _V2_DOCUMENTS = "zarr.json", (".zgroup", ".zarray")
_DOCUMENTS = (_V3_DOCUMENT, *_V2_DOCUMENTS, ".zattrs")

Result = TypeVar("Result")

# zarr loads each codec when an array first names it, and blosc makes its lock when it first unpacks: too late for a
# confined process.
for _codec in ("blosc", "bytes", "crc32c", "gzip", "sharding_indexed", "transpose", "vlen-bytes", "vlen-utf8", "zstd"):
    get_codec_class(_codec)
numcodecs.blosc.get_mutex()
numcodecs.blosc.use_threads = False  # of its own, with stacks and a pool that outlive the file


class ZarrFault(Exception):
    """Why a part of the hierarchy cannot be used, for a sentence."""


def is_zarr(name: str, files: Files) -> bool:
    """Return whether the directory *name*, with its slash, is a Zarr group or array."""
    return any(files.has(name + document) for document in (_V3_DOCUMENT, *_V2_DOCUMENTS))


class Hierarchy:
    """The groups and arrays below the directory *root*, which ends in a slash. Paths are below it; "" is itself."""

    def __init__(self, files: Files, root: str) -> None:
        self._files = files
        self._root = root
        self._store = _FilesStore(files, root)
        self._version: Literal[2, 3] = 3 if files.has(root + _V3_DOCUMENT) else 2

    def group(self, path: str) -> dict[str, Any] | None:
        """Return the attributes of the group at *path*, None when there is none. Raises ZarrFault, OSError."""
        if not self._has(path, "zarr.json" if self._version == 3 else ".zgroup"):
            return None
        opening = AsyncGroup.open(self._place(path), zarr_format=self._version, use_consolidated=False)
        return dict(_run(opening, path).attrs)

    def has_array(self, path: str) -> bool:
        return self._has(path, "zarr.json" if self._version == 3 else ".zarray")

    def array(self, path: str) -> AsyncArray[Any]:
        """Return the array at *path*, of which only the metadata is read. Raises ZarrFault, OSError."""
        if not self.has_array(path):
            raise ZarrFault(f"the array {path} is not there")
        return _run(AsyncArray.open(self._place(path), zarr_format=self._version), path)

    def text(self, path: str, most: int) -> str | None:
        """Return the file at *path* as text, None when there is none. Raises ZarrFault when it is beyond *most*."""
        if not self._files.has(self._root + path):
            return None
        with self._files.open(self._root + path) as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise ZarrFault(f"{path} is longer than {most >> 20} MiB")
        return raw.decode("utf-8", "replace")

    def _has(self, path: str, document: str) -> bool:
        place = self._place(path).path
        return self._files.has(self._root + (f"{place}/{document}" if place else document))

    def _place(self, path: str) -> StorePath:
        try:
            return StorePath(self._store, path)
        except ValueError as error:
            raise ZarrFault(f"it names {path!r}, which is not below it") from error


def samples(array: AsyncArray[Any], selection: tuple[slice | int, ...]) -> numpy.ndarray:
    """Return the *selection* of *array*, by reading the chunks that it touches. Raises ZarrFault, OSError."""
    return numpy.asarray(_run(array.getitem(selection), array.path))


def _run(coroutine: Coroutine[Any, Any, Result], path: str) -> Result:
    try:
        return InlineLoop().run_until_complete(coroutine)  # type: ignore[abstract]
    except (OSError, MemoryError):
        raise
    except Exception as error:  # zarr has no class for metadata and chunks that make no sense
        what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ZarrFault(f"{path or 'its root'} cannot be read ({what})") from error


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
        """Return the bytes of a document or a chunk, None when there is none. Raises ValueError for a huge document."""
        try:
            file = self._files.open(self._root + key)
        except OSError:
            if self._files.has(self._root + key):
                raise
            return None
        with file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_METADATA_BYTES and key.endswith(_DOCUMENTS):
                raise ValueError(f"{key} is longer than {MAX_METADATA_BYTES >> 20} MiB")
            start, stop = _span(byte_range, size)
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
