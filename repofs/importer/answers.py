"""What a reader process answers, before it is believed: a hostile file may have taken the process over.

Its form is `formats.exchange`'s to check. The numbers and texts of an image need no look, as the catalogue makes any
fit (`catalog.forms.plain`).
"""

from __future__ import annotations

import os
import struct

from repofs.errors import ReaderFailed
from repofs.formats.exchange import Answer
from repofs.formats.values import is_below
from repofs.image import Members, Picture, Recognised

MOST_FILES = 100_000  # of one fileset
_MOST_CHANNELS = 100_000  # of all images of a fileset: a row of the catalogue each
_MOST_SIDE = 1024  # pixels of a picture
_NAME_BYTES, _PATH_BYTES = 255, 4095  # that Linux allows
_PNG = struct.Struct(">8s4x4sII")  # signature, length of the first chunk, its kind, width and height


def require_possible(answer: Answer) -> None:
    """Raise ReaderFailed for an *answer* that no reader gives in good faith."""
    if answer.members is not None:
        _require_names(answer.members)
    if answer.recognised is not None:
        _require_few(answer.recognised)
    if answer.picture is not None:
        _require_picture(answer.picture)


def _require_names(members: Members) -> None:
    """Names that lead out of the directory, or that no file can have, are in no fileset."""
    names = {*members.names, members.main}
    if len(names) != len(members.names) or not 0 < len(names) <= MOST_FILES:
        raise _nonsense(f"a fileset of {len(members.names)} names")
    strange = next((name for name in members.names if not _is_name(name)), None)
    if strange is not None:
        raise _nonsense(f"{strange[:64]!r} is no file of a fileset")


def _is_name(name: str) -> bool:
    raw = os.fsencode(name)
    return is_below(name) and len(raw) <= _PATH_BYTES and all(len(part) <= _NAME_BYTES for part in raw.split(b"/"))


def _require_few(found: Recognised) -> None:
    count = sum(len(image.channels) for image in found.images)
    if count > _MOST_CHANNELS:
        raise _nonsense(f"{count} channels")


def _require_picture(picture: Picture) -> None:
    if len(picture.ranges) > _MOST_CHANNELS:
        raise _nonsense(f"a picture of {len(picture.ranges)} channels")
    head = picture.png[: _PNG.size].ljust(_PNG.size, b"\0")
    signature, kind, width, height = _PNG.unpack(head)
    if (signature, kind) != (b"\x89PNG\r\n\x1a\n", b"IHDR") or not (0 < width <= _MOST_SIDE >= height > 0):
        raise _nonsense("a picture that is none")


def _nonsense(what: str) -> ReaderFailed:
    return ReaderFailed(f"the answer of the reader makes no sense ({what})")
