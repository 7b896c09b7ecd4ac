"""What the readers say of bytes that lie in no directory."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy

from repofs.formats import registry
from repofs.formats.reader import Files, Reader
from repofs.image import ImageInfo, Members, Recognised


class OneFile:
    """`reader.Files` of one file."""

    def __init__(self, name: str, raw: bytes) -> None:
        self._name = name
        self._raw = raw

    def has(self, name: str) -> bool:
        return name == self._name

    def names(self, directory: str = "") -> Sequence[str]:
        return [] if directory else [self._name]

    def open(self, name: str) -> BinaryIO:
        if name != self._name:
            raise FileNotFoundError(name)
        return io.BytesIO(self._raw)


class ManyFiles:
    """`reader.Files` of a directory with *contents*, of which those in *strange* are not of the fileset."""

    def __init__(self, contents: Mapping[str, bytes], strange: Collection[str] = ()) -> None:
        self._contents = contents
        self._strange = strange

    def has(self, name: str) -> bool:
        return name in self._contents

    def names(self, directory: str = "") -> Sequence[str]:
        return [] if directory else sorted(self._contents)

    def open(self, name: str) -> BinaryIO:
        if name in self._strange:
            raise PermissionError(name)
        if name not in self._contents:
            raise FileNotFoundError(name)
        return io.BytesIO(self._contents[name])


def recognised(raw: bytes, name: str) -> Recognised:
    """Return what the readers say of a file *name* of these bytes."""
    return registry.read(name, OneFile(name, raw))


def only_image(found: Recognised) -> ImageInfo:
    """Return the one image of a file about which there is nothing to say."""
    assert found.note is None
    (image,) = found.images
    return image


def sizes(image: ImageInfo) -> tuple[int, int, int, int, int]:
    return image.size_x, image.size_y, image.size_z, image.size_c, image.size_t


def um(image: ImageInfo) -> tuple[float | None, ...]:
    return image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um


def preview(reader: Reader, raw: bytes, name: str, pixels: int = 256) -> numpy.ndarray:
    return reader.preview(name, OneFile(name, raw), 0, pixels)


def imported_meanwhile(directory: Path, *names: str) -> str:
    """Return, as a list, the modules that are imported while the files *names* are read: none should be."""
    code = """
import sys
from pathlib import Path
from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
registry.readers()
before = set(sys.modules)
for name in sys.argv[2:]:
    registry.look(name, LocalFiles(Path(sys.argv[1])))
    registry.read(name, LocalFiles(Path(sys.argv[1])))
print(sorted(set(sys.modules) - before), end="")
"""
    command = [sys.executable, "-c", code, str(directory), *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def members(name: str, files: Files) -> Members | None:
    """Return which files form one fileset with *name*; None: it stands alone."""
    found = registry.look(name, files)
    return found if isinstance(found, Members) else None
