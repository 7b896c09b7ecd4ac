"""Whole slides in DICOM: resolutions, labels, tiles in any order."""

from __future__ import annotations

import numpy
import pytest
from pydicom.dataset import Dataset

from repofs.formats import registry
from repofs.formats.dicom import slide as dicom_slide
from repofs.formats.dicom.reader import DicomReader
from repofs.formats.outcome import Fault
from tests.helpers.dicom import dataset, raw, slide
from tests.helpers.formats import ManyFiles

READER = DicomReader()
MATRIX = numpy.random.default_rng(1).integers(0, 255, (200, 300, 3), "u1")
HALF, QUARTER = MATRIX[::2, ::2], MATRIX[::4, ::4]
LABEL = numpy.zeros((40, 30, 3), "u1")
SCAN = {
    "a": raw(slide(QUARTER, 64)),
    "b": raw(slide(MATRIX, 64)),
    "c": raw(slide(HALF, 64)),
    "d": raw(slide(LABEL, 40, "LABEL")),
    "e": raw(slide(LABEL[:20], 40, "OVERVIEW")),
}


def seen(files: ManyFiles, pixels: int, series: int = 0) -> numpy.ndarray:
    return READER.preview("a", files, series, pixels).transpose(1, 2, 0)


def test_resolutions_are_one_image_and_label_and_overview_others() -> None:
    found = registry.read("a", ManyFiles(SCAN))
    assert found.note is None
    assert [image.name for image in found.images] == ["a [0]", "a [label]", "a [overview]"]
    whole = found.images[0]
    assert (whole.size_x, whole.size_y, whole.size_z, whole.size_c, whole.size_t) == (300, 200, 1, 3, 1)
    assert whole.rgb
    assert (whole.magnification, whole.numerical_aperture) == (20, 0.8)
    assert whole.physical_size_x_um == pytest.approx(0.25 * 512 / 300)
    assert whole.physical_size_y_um == pytest.approx(0.5 * 512 / 300)
    assert (found.images[1].size_x, found.images[1].size_y) == (30, 40)


def test_the_smallest_resolution_that_suffices_is_seen() -> None:
    files = ManyFiles(SCAN)
    assert (seen(files, 75) == QUARTER).all()
    assert (seen(files, 100) == HALF).all()
    assert (seen(files, 30) == QUARTER[::2, ::2]).all()
    assert (seen(files, 1000) == MATRIX).all()
    assert seen(files, 100, series=2).shape == (20, 30, 3)
    with pytest.raises(LookupError):
        seen(files, 100, series=3)


def test_a_step_that_divides_no_tile() -> None:
    files = ManyFiles({"a": SCAN["b"]})
    assert (seen(files, 100) == MATRIX[::3, ::3]).all()
    assert (seen(files, 43) == MATRIX[::6, ::6]).all()


def placed(data: Dataset, places: list[tuple[int, int, float, str]]) -> bytes:
    """Return the file whose frames lie where *places* say: row, column, depth, optical path."""
    groups = []
    for row, column, depth, path in places:
        place, light, group = Dataset(), Dataset(), Dataset()
        place.RowPositionInTotalImagePixelMatrix = row
        place.ColumnPositionInTotalImagePixelMatrix = column
        place.ZOffsetInSlideCoordinateSystem = depth
        light.OpticalPathIdentifier = path
        group.PlanePositionSlideSequence = [place]
        group.OpticalPathIdentificationSequence = [light]
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    data.DimensionOrganizationType = "TILED_SPARSE"
    return raw(data)  # type: ignore[arg-type]


def test_tiles_that_say_themselves_where_they_lie() -> None:
    data = slide(MATRIX[:128, :128], 64)
    frames = numpy.frombuffer(data.PixelData, "u1").reshape(4, 64, 64, 3)
    data.PixelData = frames[::-1].tobytes()
    files = ManyFiles({"a": placed(data, [(65, 65, 0, "1"), (65, 1, 0, "1"), (1, 65, 0, "1"), (1, 1, 0, "1")])})
    assert (seen(files, 128) == MATRIX[:128, :128]).all()


def test_tiles_of_the_middle_depth_and_of_each_optical_path() -> None:
    values = numpy.stack([numpy.full((16, 16), value, "u2") for value in range(6)])
    like = slide(MATRIX[:16, :16], 16)
    elements = {element.keyword: element.value for element in like if element.tag.group in (0x0008, 0x0048, 0x5200)}
    data = dataset(values, **elements, NumberOfOpticalPaths=2, TotalPixelMatrixFocalPlanes=3)
    files = ManyFiles({"a": raw(data)})
    image = registry.read("a", files).images[0]
    assert (image.size_z, image.size_c, image.rgb) == (3, 2, False)
    assert READER.preview("a", files, 0, 16)[:, 0, 0].tolist() == [1, 4]
    places = [(1, 1, depth, path) for depth in (0.2, 0.1, 0.3) for path in ("b", "a")]
    assert READER.preview("a", ManyFiles({"a": placed(data, places)}), 0, 16)[:, 0, 0].tolist() == [1, 0]


def test_a_tile_without_a_place() -> None:
    with pytest.raises(Fault, match="frame 1 has no place on the slide"):
        seen(ManyFiles({"a": placed(slide(MATRIX[:64, :64], 64), [(0, 1, 0, "1")])}), 64)


def test_a_resolution_in_several_files() -> None:
    whole = slide(MATRIX, 64)
    tiles = numpy.frombuffer(whole.PixelData, "u1").reshape(-1, 64, 64, 3)
    parts = {}
    for name, first, last in (("a", 8, 20), ("b", 0, 8)):
        part = slide(MATRIX, 64, NumberOfFrames=last - first, ConcatenationFrameOffsetNumber=first)
        part.PixelData = tiles[first:last].tobytes()
        parts[name] = raw(part)
    assert (seen(ManyFiles(parts), 300) == MATRIX).all()


def test_of_very_many_tiles_some_stand_for_their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_slide, "MAX_TILES", 5)
    picture = seen(ManyFiles({"a": SCAN["b"]}), 10)
    expected = MATRIX[::30, ::30]
    assert picture.shape == expected.shape
    assert (picture[0, 0] == expected[0, 0]).all()


def test_a_slide_of_impossible_size() -> None:
    found = registry.read("a", ManyFiles({"a": raw(slide(MATRIX, 64, TotalPixelMatrixColumns=4_000_000_000))}))
    assert found.note == "a slide of 4000000000 x 200 pixels is not possible; no image can be read"


def test_a_missing_tile_is_told() -> None:
    found = registry.read("a", ManyFiles({"a": SCAN["b"][:-10]}))
    assert found.note == "a is not whole: 19 of its 20 frames are there"
    assert found.images[0].size_x == 300
