"""What readers say of a file, in the same words."""

from __future__ import annotations

import pytest

from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import MOST_FAULTS, label, recognised
from repofs.image import ImageInfo

IMAGE = ImageInfo("a", 0, 1, 1, 1, 1, 1, "uint8")


@pytest.mark.parametrize(
    ("images", "faults", "note"),
    [
        ([IMAGE], [], None),
        ([IMAGE], [None, "it is cut", "it is odd"], "it is cut; it is odd"),
        ([], ["it is cut"], "it is cut; no image can be read"),
        ([], [], "no image can be read"),
        ([IMAGE], [str(number) for number in range(MOST_FAULTS + 2)], "0; 1; 2; 3; and 2 more faults"),
    ],
)
def test_notes(images: list[ImageInfo], faults: list[str | None], note: str | None) -> None:
    found = recognised("A", images, faults)
    assert (found.format, found.images, found.note) == ("A", tuple(images), note)


def test_metadata() -> None:
    original = OriginalMetadata()
    original.add("key", "value")
    assert recognised("A", [IMAGE], [], original).original_metadata == {"key": "value"}


def test_labels() -> None:
    assert (label("a.dv", 0, 1), label("a.dv", 1, 2)) == ("a.dv", "a.dv [1]")
