"""The DICOM reader on single files, series, compressed frames, and on what is damaged."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended

from repofs.formats import registry
from repofs.formats.dicom import header as dicom_header
from repofs.formats.dicom.reader import DicomReader
from repofs.formats.outcome import Fault
from repofs.image import ImageInfo, Recognised
from tests.helpers import damage, dicom
from tests.helpers.dicom import SERIES, dataset, raw, written
from tests.helpers.formats import ManyFiles, OneFile, recognised

READER = DicomReader()
PLANE = numpy.arange(24 * 32, dtype="u2").reshape(24, 32)
STACK = numpy.arange(5 * 24 * 32, dtype="u2").reshape(5, 24, 32)
COLOUR = numpy.random.default_rng(1).integers(0, 255, (24, 32, 3), "u1")
AXIAL = [1, 0, 0, 0, 1, 0]


def only_image(found: Recognised) -> ImageInfo:
    assert found.note is None
    (image,) = found.images
    return image


def sizes(image: ImageInfo) -> tuple[int, ...]:
    return image.size_x, image.size_y, image.size_z, image.size_c, image.size_t


def seen(content: bytes, pixels: int = 32) -> numpy.ndarray:
    return READER.preview("a", OneFile("a", content), 0, pixels)


def slices(**elements: list[object]) -> dict[str, bytes]:
    """Return the files of a series: each a plane of its own number, with one of each of the *elements*."""
    count = len(next(iter(elements.values())))
    rows = [{name: values[number] for name, values in elements.items()} for number in range(count)]
    return {
        f"{number:03}.dcm": written(PLANE + 1000 * number, **{"InstanceNumber": number + 1, **row})  # type: ignore[arg-type]
        for number, row in enumerate(rows)
    }


def at(*heights: float) -> list[object]:
    return [[0, 0, height] for height in heights]


# --- one file -------------------------------------------------------------------------------------


def test_what_a_file_says_is_in_the_image() -> None:
    content = written(
        PLANE,
        PixelSpacing=[0.5, 0.25],
        AcquisitionDateTime="20240229235958.250000+0100",
        Manufacturer="Maker",
        ManufacturerModelName="Model 1",
        SeriesDescription="Head",
    )
    assert only_image(recognised(content, "a.dcm")) == ImageInfo(
        name="Head",
        series=0,
        size_x=32,
        size_y=24,
        size_z=1,
        size_c=1,
        size_t=1,
        pixel_type="uint16",
        physical_size_x_um=250.0,
        physical_size_y_um=500.0,
        acquired="2024-02-29T23:59:58.250000",
        instrument="Maker Model 1",
    )


@pytest.mark.parametrize(
    ("elements", "acquired"),
    [
        ({"AcquisitionDate": "20240229", "AcquisitionTime": "1203"}, "2024-02-29T12:03:00"),
        ({"AcquisitionDate": "20240229", "StudyDate": "20200101"}, "2024-02-29"),
        ({"StudyDate": "2020.01.01", "StudyTime": "1203"}, "2020-01-01"),  # a study begins long before
        ({"AcquisitionDate": "soon"}, None),
    ],
)
def test_when_it_was_taken(elements: dict[str, object], acquired: str | None) -> None:
    assert only_image(recognised(written(PLANE, **elements), "a")).acquired == acquired


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32"])
def test_pixel_types(kind: str) -> None:
    values = PLANE.astype(kind)
    content = written(values)
    assert only_image(recognised(content, "a")).pixel_type == kind
    assert (seen(content) == values).all()


def test_floating_point_pixels() -> None:
    data = dataset(PLANE)
    del data.PixelData
    data.FloatPixelData = PLANE.astype("f4").tobytes()
    data.BitsAllocated = 32
    assert only_image(recognised(raw(data), "a")).pixel_type == "float"
    assert (seen(raw(data)) == PLANE).all()


def test_implicit_big_endian_and_deflated() -> None:
    assert (seen(raw(dataset(PLANE), uid.ImplicitVRLittleEndian)) == PLANE).all()
    assert (seen(raw(dataset(PLANE), uid.DeflatedExplicitVRLittleEndian)) == PLANE).all()
    swapped = dataset(PLANE.astype(">u2"))
    swapped.set_original_encoding(False, False)
    content = raw(swapped, uid.ExplicitVRBigEndian)
    assert only_image(recognised(content, "a")).big_endian
    assert (seen(content) == PLANE).all()


def test_frames_are_planes_of_z_and_the_middle_one_is_seen() -> None:
    content = written(STACK, SpacingBetweenSlices=2.5)
    image = only_image(recognised(content, "a"))
    assert sizes(image) == (32, 24, 5, 1, 1)
    assert image.physical_size_z_um == 2500.0
    assert (seen(content, 8) == STACK[2, ::4, ::4]).all()


def test_distance_of_frames_from_where_they_lie() -> None:
    frames = []
    for height in (0.0, 1.5, 3.0, 4.5, 6.0):
        place, frame = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, height]
        frame.PlanePositionSequence = [place]
        frames.append(frame)
    image = only_image(recognised(written(STACK, PerFrameFunctionalGroupsSequence=frames), "a"))
    assert image.physical_size_z_um == 1500.0


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_samples_are_channels(planar: int) -> None:
    stored = COLOUR if planar == 0 else COLOUR.transpose(2, 0, 1).reshape(24, 32, 3)
    content = written(stored, samples=3, PlanarConfiguration=planar)
    image = only_image(recognised(content, "a"))
    assert sizes(image) == (32, 24, 1, 3, 1)
    assert image.rgb
    assert (seen(content, 16) == COLOUR[::2, ::2].transpose(2, 0, 1)).all()


def test_a_palette_is_one_channel() -> None:
    content = written(PLANE.astype("u1"), PhotometricInterpretation="PALETTE COLOR")
    image = only_image(recognised(content, "a"))
    assert (image.size_c, image.rgb) == (1, False)


def test_raw_metadata_by_keyword() -> None:
    inner = Dataset()
    inner.CodeMeaning = "Brain"
    found = recognised(
        written(PLANE, KVP="120", AnatomicRegionSequence=[inner], ImageType=["ORIGINAL", "PRIMARY"]), "a"
    )
    assert found.original_metadata["KVP"] == "120"
    assert found.original_metadata["AnatomicRegionSequence.0.CodeMeaning"] == "Brain"
    assert found.original_metadata["ImageType"] == "['ORIGINAL', 'PRIMARY']"
    assert "PixelData" not in found.original_metadata


# --- how it is recognised ---------------------------------------------------------------------------


def test_a_file_that_begins_as_tiff_is_dicom_by_its_word_at_128() -> None:
    content = b"II*\0" + written(PLANE)[4:]
    assert recognised(content, "a.tif").format == "DICOM"


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_file_without_a_beginning_is_known_by_its_kind_of_object(syntax: uid.UID) -> None:
    content = raw(dataset(PLANE), syntax)
    with_meta = content[132:]
    assert only_image(recognised(with_meta, "a")).size_x == 32
    group_length = struct.unpack("<I", content[140:144])[0]
    without = content[144 + group_length :]
    assert only_image(recognised(without, "a")).size_x == 32
    assert (seen(without) == PLANE).all()


@pytest.mark.parametrize(
    "beginning", [b"\x08\0\x05\0", b"\x02\0\0\0UL\x04\0", b"\x08\0\0\0\0\0\0\0", b"\x08\0\x16\0UI"]
)
def test_any_bytes_are_not_dicom(beginning: bytes) -> None:
    assert recognised(beginning + bytes(range(256)) * 8, "a").format is None


@pytest.mark.parametrize(
    "kind", [uid.RTPlanStorage, uid.TwelveLeadECGWaveformStorage, uid.MediaStorageDirectoryStorage]
)
def test_an_object_without_an_image_is_named(kind: uid.UID) -> None:
    data = dataset(PLANE)
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(data, keyword)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    found = recognised(raw(data), "a.dcm")
    assert found.images == ()
    assert found.note == f"a DICOM file of the kind {kind.name} holds no image; no image can be read"


# --- series ------------------------------------------------------------------------------------------


def test_files_of_a_series_have_one_key() -> None:
    files = ManyFiles(slices(ImagePositionPatient=at(0, 1)))
    found = [READER.members(name, files) for name in files.names()]
    assert [one.key for one in found if one] == [f"dicom:{SERIES}"] * 2
    assert [one.main for one in found if one] == ["000.dcm", "001.dcm"]


def test_a_file_without_a_series_stands_alone() -> None:
    data = dataset(PLANE)
    del data.SeriesInstanceUID
    content = raw(data)
    assert READER.members("a", OneFile("a", content)) is None
    assert READER.members("a", OneFile("a", b"")) is None
    assert only_image(registry.read("a", ManyFiles({"a": content, "b": content}))).size_z == 1


def test_slices_are_planes_of_z_in_the_order_of_their_places() -> None:
    heights = [4.0, 0.0, 8.0, 2.0, 6.0]
    files = ManyFiles(slices(ImagePositionPatient=at(*heights), ImageOrientationPatient=[AXIAL] * 5))
    for main in files.names():
        image = only_image(registry.read(main, files))
        assert sizes(image) == (32, 24, 5, 1, 1)
        assert image.physical_size_z_um == pytest.approx(2000.0)
        assert image.name == "000.dcm"
        assert (READER.preview(main, files, 0, 32) == PLANE).all()  # the file at 4.0 is the first


def test_slices_are_ordered_along_their_normal_not_along_an_axis() -> None:
    sagittal = [0, 1, 0, 0, 0, -1]
    places: list[object] = [[x, 0, 0] for x in (3.0, 1.0, 2.0)]
    files = ManyFiles(slices(ImagePositionPatient=places, ImageOrientationPatient=[sagittal] * 3))
    image = only_image(registry.read("000.dcm", files))
    assert (image.size_z, image.physical_size_z_um) == (3, pytest.approx(1000.0))
    assert (READER.preview("000.dcm", files, 0, 32) == PLANE + 2000).all()


def test_the_same_place_again_is_a_time_point() -> None:
    heights = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    columns = {"ImagePositionPatient": at(*heights), "ImageOrientationPatient": [AXIAL] * 12}
    files = ManyFiles(slices(**columns, TemporalResolution=[1500] * 12))  # type: ignore[arg-type]
    image = only_image(registry.read("000.dcm", files))
    assert (image.size_z, image.size_c, image.size_t) == (3, 1, 4)
    assert image.time_increment_s == 1.5
    assert (READER.preview("000.dcm", files, 0, 32) == PLANE + 7000).all()  # Z 1 of T 2


def test_echoes_are_channels() -> None:
    heights, echoes = [0, 0, 1, 1, 2, 2], [5.0, 20.0] * 3
    columns = {"ImagePositionPatient": at(*heights), "ImageOrientationPatient": [AXIAL] * 6}
    files = ManyFiles(slices(**columns, EchoTime=echoes))  # type: ignore[arg-type]
    image = only_image(registry.read("000.dcm", files))
    assert (image.size_z, image.size_c, image.size_t) == (3, 2, 1)
    assert [channel.name for channel in image.channels] == ["TE 5 ms", "TE 20 ms"]
    assert (READER.preview("000.dcm", files, 0, 32) == numpy.stack([PLANE + 2000, PLANE + 3000])).all()


def test_slices_that_fill_no_grid_are_all_shown_with_a_note() -> None:
    files = ManyFiles(slices(ImagePositionPatient=at(0, 1, 0), ImageOrientationPatient=[AXIAL] * 3))
    found = registry.read("000.dcm", files)
    assert found.images[0].size_z == 3
    assert found.note == "its 3 slices at 2 places are no whole number of stacks: all are planes of Z"


def test_slices_without_a_place_are_ordered_by_their_number() -> None:
    files = ManyFiles(slices(InstanceNumber=[3, 1, 2]))
    assert only_image(registry.read("000.dcm", files)).size_z == 3
    assert (READER.preview("000.dcm", files, 0, 32) == PLANE + 2000).all()


def test_uneven_distances_are_not_given() -> None:
    files = ManyFiles(slices(ImagePositionPatient=at(0, 1, 5), ImageOrientationPatient=[AXIAL] * 3))
    assert only_image(registry.read("000.dcm", files)).physical_size_z_um is None


def test_planes_of_another_shape_or_many_frames_are_images_of_their_own() -> None:
    contents = slices(ImagePositionPatient=at(0, 1), ImageOrientationPatient=[AXIAL] * 2)
    contents |= {"scout": written(PLANE[:10], InstanceNumber=9), "film": written(STACK, InstanceNumber=10)}
    found = registry.read("000.dcm", ManyFiles(contents))
    assert [sizes(image)[1:3] for image in found.images] == [(24, 2), (10, 1), (24, 5)]
    assert [image.name for image in found.images] == ["000.dcm [0]", "000.dcm [1]", "000.dcm [2]"]
    assert (READER.preview("film", ManyFiles(contents), 2, 32) == STACK[2]).all()


def test_only_files_of_the_series_and_of_the_fileset_are_read() -> None:
    contents = slices(ImagePositionPatient=at(0, 1, 2), ImageOrientationPatient=[AXIAL] * 3)
    contents |= {"notes.txt": b"words", "other.dcm": written(PLANE, SeriesInstanceUID="1.2.3"), "empty": b""}
    assert only_image(registry.read("000.dcm", ManyFiles(contents))).size_z == 3
    assert only_image(registry.read("000.dcm", ManyFiles(contents, strange=["002.dcm"]))).size_z == 2


def test_a_damaged_slice_is_named_and_left_out() -> None:
    contents = slices(ImagePositionPatient=at(0, 1, 2), ImageOrientationPatient=[AXIAL] * 3)
    contents["001.dcm"] = contents["001.dcm"][:-5]
    found = registry.read("000.dcm", ManyFiles(contents))
    assert found.note == "001.dcm is not whole: 0 of its 1 frames are there"
    assert found.images[0].size_z == 2


def test_a_long_list_of_damaged_slices_is_cut() -> None:
    contents = slices(ImagePositionPatient=at(*range(9)), ImageOrientationPatient=[AXIAL] * 9)
    damaged = {name: content[:-5] if number else content for number, (name, content) in enumerate(contents.items())}
    note = registry.read("000.dcm", ManyFiles(damaged)).note
    assert note is not None
    assert note.endswith("; and 4 more faults")


# --- compressed ---------------------------------------------------------------------------------------


def compressed(syntax: uid.UID, frames: list[bytes], data: pydicom.FileDataset, **table: bool) -> bytes:
    data.PixelData = encapsulate(frames, **table)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    return raw(data, syntax)


@pytest.mark.parametrize(
    ("syntax", "codec", "options"),
    [
        (uid.JPEGLosslessSV1, "ljpeg", {}),
        (uid.JPEGLSLossless, "jpegls", {}),
        (uid.JPEG2000Lossless, "jpeg2k", {"reversible": True, "level": 0, "codecformat": "j2k"}),
    ],
)
def test_lossless_compressed_frames(syntax: uid.UID, codec: str, options: dict[str, object]) -> None:
    encode = getattr(imagecodecs, f"{codec}_encode")
    frames = [encode(plane, **options) for plane in STACK]
    for table in (True, False):
        content = compressed(syntax, frames, dataset(STACK), has_bot=table)
        assert sizes(only_image(recognised(content, "a"))) == (32, 24, 5, 1, 1)
        assert (seen(content) == STACK[2]).all()


def test_run_lengths_and_a_long_table_of_offsets() -> None:
    data = dataset(STACK)
    data.compress(uid.RLELossless)
    assert (seen(raw(data, uid.RLELossless)) == STACK[2]).all()
    extended = dataset(STACK)
    frames = [imagecodecs.jpegls_encode(plane) for plane in STACK]
    extended.PixelData, extended.ExtendedOffsetTable, extended.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    extended["PixelData"].VR = "OB"
    extended["PixelData"].is_undefined_length = True
    content = raw(extended, uid.JPEGLSLossless)
    assert (seen(content) == STACK[2]).all()
    assert recognised(content[:-60], "a").note == "a is not whole: 4 of its 5 frames are there"


@pytest.mark.parametrize("table", [True, False])
def test_compressed_frames_that_are_cut_off(table: bool) -> None:
    frames = [imagecodecs.jpegls_encode(plane) for plane in STACK]
    whole = compressed(uid.JPEGLSLossless, frames, dataset(STACK), has_bot=table)
    found = recognised(whole[: -len(frames[-1])], "a")
    assert found.images[0].size_z == 4
    assert found.note == "a is not whole: 4 of its 5 frames are there"


def test_a_frame_that_no_decoder_reads_is_named() -> None:
    content = compressed(uid.JPEGLSLossless, [b"no JPEG at all "], dataset(PLANE))
    with pytest.raises(Fault, match=r"frame 1 \(JPEG-LS.*\) cannot be decompressed"):
        seen(content)
    film = compressed(uid.MPEG2MPML, [b"a film"], dataset(PLANE))
    assert only_image(recognised(film, "a")).size_x == 32
    with pytest.raises(Fault, match="MPEG2"):
        seen(film)


def test_a_frame_too_large_to_decompress_is_refused() -> None:
    content = compressed(uid.JPEGBaseline8Bit, [b"x" * 10], dataset(PLANE, Rows=65535, Columns=65535))
    with pytest.raises(Fault, match="too large"):
        seen(content)


# --- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "note"),
    [
        ({"Rows": 0}, "a size of 32 x 0 pixels of 1 samples in 1 frames is not possible"),
        ({"NumberOfFrames": "-4"}, "a size of 32 x 24 pixels of 1 samples in -4 frames is not possible"),
        ({"NumberOfFrames": "99999999999"}, "in 99999999999 frames is not possible"),
        ({"NumberOfFrames": "2000000000"}, "a is not whole: 1 of its 2000000000 frames are there"),
        ({"BitsAllocated": 12}, "pixels of 12 bits are not known to OMERO"),
    ],
)
def test_sizes_that_cannot_be(elements: dict[str, object], note: str) -> None:
    assert note in (recognised(written(PLANE, **elements), "a").note or "")


def test_elements_of_the_wrong_length_are_left_out() -> None:
    content = written(PLANE, SamplesPerPixel=1)
    element = b"\x28\0\x02\0US\x02\0\1\0"
    assert element in content
    assert only_image(recognised(content.replace(element, b"\x28\0\x02\0US\1\0\1"), "a")).size_c == 1


def test_a_short_stack_has_the_frames_that_are_whole() -> None:
    found = recognised(written(STACK)[: -2 * PLANE.nbytes - 1], "a")
    assert found.images[0].size_z == 2
    assert found.note == "a is not whole: 2 of its 5 frames are there"
    assert (seen(written(STACK)[: -2 * PLANE.nbytes - 1]) == STACK[1]).all()


def test_a_sequence_that_is_cut_off_is_damage() -> None:
    content = written(PLANE)
    start = content.index(b"\xe0\x7f\x10\0OW")
    sequence = b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + (b"\xfe\xff\0\xe0\x08\0\0\0" + bytes(8)) * 2
    note = recognised(content[:start] + sequence, "a").note
    assert note is not None
    assert note.startswith("its header cannot be read (OSError: No tag to read at file position")


def test_a_deflate_bomb_is_not_unpacked() -> None:
    content = raw(dataset(PLANE), uid.DeflatedExplicitVRLittleEndian)
    length = struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    found = recognised(content[: 144 + length] + bomb, "a")
    assert found.note == "what is deflated in it is longer than 256 MiB; no image can be read"


def test_a_header_without_an_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_header, "MAX_HEADER_BYTES", 1 << 20)
    content = written(PLANE)
    start = content.index(b"\xe0\x7f\x10\0OW")
    endless = b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xff" + (b"\xfe\xff\0\xe0\x08\0\0\0" + bytes(8)) * (1 << 20)
    found = recognised(content[:start] + endless, "a")
    assert found.note == "its header is longer than 1 MiB; no image can be read"


CUT = [written(STACK), raw(dataset(STACK), uid.DeflatedExplicitVRLittleEndian), raw(dicom.slide(COLOUR, 16))]


@pytest.mark.parametrize("content", CUT)
def test_cut_short(content: bytes) -> None:
    for part in damage.cut(content):
        damage.asked("a", OneFile("a", part))


@given(st.sampled_from(CUT), st.lists(st.tuples(st.integers(132, 3000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations(content: bytes, changes: list[tuple[int, bytes]]) -> None:
    damage.asked("a", OneFile("a", damage.changed(content, changes)))


def test_nothing_is_loaded_late(tmp_path: Path) -> None:
    jpeg, rle = dataset(PLANE.astype("u1")), dataset(STACK)
    rle.compress(uid.RLELossless)
    contents = [
        written(STACK, SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou"),
        written(STACK, SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг"),
        raw(dataset(PLANE), uid.DeflatedExplicitVRLittleEndian),
        raw(dicom.slide(COLOUR, 16)),
        raw(rle, uid.RLELossless),
        written(COLOUR, samples=3, PhotometricInterpretation="YBR_FULL"),
        compressed(uid.JPEGBaseline8Bit, [imagecodecs.jpeg_encode(PLANE.astype("u1"))], jpeg),
        compressed(uid.JPEGLosslessSV1, [imagecodecs.ljpeg_encode(PLANE)], dataset(PLANE)),
        compressed(uid.JPEGLSLossless, [imagecodecs.jpegls_encode(PLANE)], dataset(PLANE)),
        compressed(uid.JPEG2000, [imagecodecs.jpeg2k_encode(PLANE, codecformat="j2k")], dataset(PLANE)),
        compressed(uid.HTJ2KLossless, [imagecodecs.jpeg2k_encode(PLANE, codecformat="j2k")], dataset(PLANE)),
    ]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).mkdir()  # or they would be one series
        (tmp_path / str(number) / "a").write_bytes(content)
    assert damage.loaded_late(tmp_path, [f"{number}/a" for number in range(len(contents))]) == []
