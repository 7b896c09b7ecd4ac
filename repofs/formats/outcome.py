"""What a reader has to say of a file, in the words of the house: its images, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from repofs.formats.original_metadata import OriginalMetadata
from repofs.image import ImageInfo, Recognised

MOST_FAULTS = 4  # that a note tells one by one

CUT_HEADER = "the file is not whole: it ends within its header"
NO_IMAGE = "no image can be read"
NO_PLANE = "no plane of it is whole"


class Fault(Exception):
    """Why a file, or an image of it, is of no use: a sentence without a full stop, "its header is damaged"."""


def recognised(
    format: str | None,
    images: Iterable[ImageInfo],
    faults: Iterable[str | None],
    original: OriginalMetadata | None = None,
) -> Recognised:
    """Return what was found, with all *faults* in one note, which also says when there is no image."""
    found = tuple(images)
    sentences = [fault for fault in faults if fault]
    if len(sentences) > MOST_FAULTS:
        sentences[MOST_FAULTS:] = [f"and {len(sentences) - MOST_FAULTS} more faults"]
    sentences += [] if found else [NO_IMAGE]
    return Recognised(format, found, {} if original is None else original.flat, "; ".join(sentences) or None)


def label(name: str, number: int, count: int) -> str:
    """Return what image *number* of *count* in the file *name* is called where the file does not say."""
    return name if count == 1 else f"{name} [{number}]"
