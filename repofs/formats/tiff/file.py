"""tifffile, made to look at nothing but the one file that it is given, and to find all its parts when confined."""

from __future__ import annotations

import codecs
import io
import os
import time
import xml.etree.ElementTree  # noqa: F401
from typing import TYPE_CHECKING, BinaryIO, cast

import imagecodecs
import tifffile

from repofs.formats.tiff.layout import Layout

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# tifffile needs these (and ElementTree, and what strptime imports) in the middle of a file, when a confined process
# may be unable to read them: the interpreter may lie in a directory that only root can enter.
time.strptime("2000", "%Y")
for _encoding in ("utf-16", "utf-16-le", "utf-16-be", "cp1252"):
    codecs.lookup(_encoding)
# imagecodecs loads each codec when it is first asked for.
_CODECS = [code in tifffile.TIFF.DECOMPRESSORS for code in tifffile.COMPRESSION]
_CODECS += [code in tifffile.TIFF.UNPREDICTORS for code in tifffile.PREDICTOR]
_CODECS += [
    hasattr(imagecodecs, f"{codec}_decode")
    for codec in ("bitorder", "ccittfax3", "ccittfax4", "ccittrle", "eer", "float24", "jpeg8", "ljpeg", "packints")
]


class ClosedChain(io.RawIOBase):
    """A view of a TIFF in which the last page of *layout* is the last one.

    For readers that would follow a broken chain: tifffile goes round in a circle 2^32 times.
    """

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self._file = file
        self._start, self._length = layout.end

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill *buffer* from the position on and return how many bytes that were."""
        view = memoryview(buffer).cast("B")
        position = self._file.tell()
        data = self._file.read(len(view))
        view[: len(data)] = data
        first = max(self._start, position) - position
        last = min(self._start + self._length, position + len(data)) - position
        if first < last:
            view[first:last] = bytes(last - first)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to *offset* and return the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True


def opened(file: BinaryIO, layout: Layout) -> tifffile.TiffFile:
    """Return tifffile's view of *file*, in which the last page of *layout* is the last one."""
    file.seek(0)
    source = file if layout.fault is None else cast(BinaryIO, ClosedChain(file, layout))
    # Each of these three would look for other files beside this one. The name must be one, and not the file's own: by
    # that tifffile would tell whether it is an NDPI; that of a file which is open by its descriptor is a number.
    return tifffile.TiffFile(
        source, name="image", is_ome=False, is_mmstack=False, is_ndtiff=False, is_ndpi=layout.wide_ndpi or None
    )
