"""The thumbnails that file managers show: freedesktop.org's "Thumbnail Managing Standard", version 0.9.

    ~/.cache/thumbnails/normal/MD5.png      at most 128 pixels on a side
    ~/.cache/thumbnails/large/MD5.png       at most 256

MD5 is of the file's URI, which the PNG names too, with the file's mtime: one of another mtime is not shown.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from PIL.PngImagePlugin import PngInfo

_SIZES = {"normal": 128, "large": 256}
_PLAIN = "/!$&'()*+,:=@"  # what GLib leaves in a URI as it is, besides letters, digits and -._~


def put(file: bytes, mtime_ns: int, png: bytes) -> None:
    """Let file managers show *png* for the *file* (absolute path), as it is since *mtime_ns*. Raises OSError."""
    uri = "file://" + quote(file, safe=_PLAIN)
    told = PngInfo()
    told.add_text("Thumb::URI", uri)
    told.add_text("Thumb::MTIME", str(mtime_ns // 1_000_000_000))
    name = hashlib.md5(uri.encode(), usedforsecurity=False).hexdigest() + ".png"
    for directory, pixels in _SIZES.items():
        picture = Image.open(io.BytesIO(png)).convert("RGBA")  # which the standard wants
        picture.thumbnail((pixels, pixels))
        made = io.BytesIO()
        picture.save(made, "PNG", pnginfo=told)
        _write(_cache() / directory, name, made.getvalue())


def _cache() -> Path:
    named = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(named) if os.path.isabs(named) else Path.home() / ".cache") / "thumbnails"


def _write(directory: Path, name: str, content: bytes) -> None:
    """Write a file that only its owner may read, at once whole: a file manager may look at any moment."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(dir=directory)  # 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.rename(new, directory / name)
    except BaseException:
        os.unlink(new)
        raise
