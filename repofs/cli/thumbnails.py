"""repofs thumbnails: pictures of originals, put where the caller's file manager looks for them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from repofs.cli import attributes, location


def thumbnails(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and directories in a mount.")],
) -> None:
    """Have your file manager show thumbnails."""
    from repofs.cli import thumbnail_cache

    written = without = 0
    for path in paths:
        pictures = location.mount_of(path).mountpoint / ".repofs" / "thumbnails"
        for file, images in _pictured(path):
            try:
                png = (pictures / f"{images[0].replace(':', '-')}.png").read_bytes()
            except FileNotFoundError:
                without += 1
                continue
            thumbnail_cache.put(os.path.abspath(os.fsencode(file)), file.stat().st_mtime_ns, png)
            written += 1
    print(f"{written:,} thumbnails written" + (f", {without:,} images have none" if without else ""))


def _pictured(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield the originals at and below *path* that hold images, with these. Hidden directories are left out."""
    for file in _files(path):
        images = attributes.read(file, "images")
        if images is not None:
            yield file, images.split(",")


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for directory, below, names in os.walk(path, onerror=_raise_unless_refused):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for name in sorted(names):
            file = Path(directory, name)
            if stat.S_ISREG(file.lstat().st_mode):
                yield file


def _raise_unless_refused(error: OSError) -> None:
    """Go on after a directory that the caller may not list: below the mount's root lie those of others."""
    if not isinstance(error, PermissionError):
        raise error
