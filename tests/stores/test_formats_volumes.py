"""NIfTI, PAR/REC and NRRD: volumes whose samples follow a header, in one file or in others."""

from __future__ import annotations

import gzip
import io
import time
from pathlib import Path

import nibabel
import nrrd
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.formats import packed, registry
from repofs.formats.nifti import NiftiReader
from repofs.formats.nrrd.reader import NrrdReader
from repofs.formats.outcome import Fault
from repofs.formats.parrec import ParRecReader
from repofs.image import ImageInfo, Members, Recognised
from tests.helpers import damage
from tests.helpers.formats import ManyFiles, OneFile, recognised

VOLUME = numpy.arange(7 * 6 * 5 * 3 * 2, dtype="i2").reshape(7, 6, 5, 3, 2, order="F")  # X Y Z T C
NIFTI, NRRD, PARREC = NiftiReader(), NrrdReader(), ParRecReader()


def nifti(data: numpy.ndarray, kind: type = nibabel.Nifti1Image, order: str = "<", **header: object) -> bytes:
    image = kind(data, numpy.eye(4), header=kind.header_class(endianness=order))
    image.set_data_dtype(data.dtype)
    image.header.set_xyzt_units("mm", "msec")
    for key, value in header.items():
        image.header[key] = value
    return bytes(image.to_bytes())


def only_image(found: Recognised) -> ImageInfo:
    assert found.note is None
    (image,) = found.images
    return image


def sizes(image: ImageInfo) -> tuple[int, ...]:
    return image.size_x, image.size_y, image.size_z, image.size_c, image.size_t


# --- NIfTI ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_nifti(kind: type, order: str, compressed: bool) -> None:
    content = nifti(VOLUME, kind, order, pixdim=[1, 0.5, 0.25, 2, 1500, 1, 1, 1])
    if compressed:
        content = gzip.compress(content)
    image = only_image(recognised(content, "a"))
    assert sizes(image) == (7, 6, 5, 2, 3)
    assert (image.pixel_type, image.big_endian) == ("int16", order == ">")
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (500, 250, 2000)
    assert image.time_increment_s == 1.5
    seen = NIFTI.preview("a", OneFile("a", content), 0, 7)
    assert (seen == VOLUME[:, :, 2, 1].transpose(2, 1, 0)).all()
    assert NIFTI.preview("a", OneFile("a", content), 0, 3).shape == (2, 3, 4)


@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "int32", "uint32", "float32", "float64", "complex64"])
def test_nifti_pixel_types(kind: str) -> None:
    image = only_image(recognised(nifti(VOLUME[..., 0, 0].astype(kind)), "a"))
    assert image.pixel_type == {"float32": "float", "float64": "double", "complex64": "complex"}.get(kind, kind)


def test_nifti_colour_is_three_channels() -> None:
    colours = numpy.zeros((7, 6, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = 9
    content = nifti(colours)
    image = only_image(recognised(content, "a"))
    assert (sizes(image), image.rgb, image.pixel_type) == ((7, 6, 5, 3, 1), True, "uint8")
    assert NIFTI.preview("a", OneFile("a", content), 0, 7)[:, 0, 0].tolist() == [0, 9, 0]


def test_nifti_without_a_unit_has_no_sizes() -> None:
    image = only_image(recognised(nifti(VOLUME, xyzt_units=0), "a"))
    assert (image.physical_size_x_um, image.time_increment_s) == (None, None)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_nifti_pair(suffix: str) -> None:
    pair = nibabel.Nifti1Pair(VOLUME, numpy.eye(4))
    pair.file_map = {key: nibabel.FileHolder(fileobj=io.BytesIO()) for key in ("header", "image")}
    pair.to_file_map()
    contents = {f"a.hdr{suffix}": pair.file_map["header"].fileobj, f"a.img{suffix}": pair.file_map["image"].fileobj}
    pack = gzip.compress if suffix else bytes
    files = ManyFiles({name: pack(file.getvalue()) for name, file in contents.items()})
    names = (f"a.hdr{suffix}", f"a.img{suffix}")
    assert NIFTI.members(names[0], files) == Members(names[0], names)
    assert NIFTI.members(names[1], files) == Members(names[0], names, certain=False)
    assert sizes(only_image(registry.read(names[0], files))) == (7, 6, 5, 2, 3)
    assert (NIFTI.preview(names[0], files, 0, 7) == VOLUME[:, :, 2, 1].transpose(2, 1, 0)).all()
    alone = registry.read(names[0], OneFile(names[0], files.open(names[0]).read()))
    assert alone.note == f"{names[1]}, which has its data, is missing: put it beside this file; no image can be read"
    data = registry.read(names[1], OneFile(names[1], b"\1\2"))
    assert (data.format, data.images) == (None, ())
    assert names[0] in (data.note or "")


def test_nifti_stands_alone_as_one_file() -> None:
    assert NIFTI.members("a.nii", OneFile("a.nii", nifti(VOLUME))) is None


def test_short_nifti_has_the_planes_that_are_whole() -> None:
    content = nifti(VOLUME)[: -7 * 6 * 2 * 20 - 1]
    found = recognised(content, "a")
    assert sizes(found.images[0]) == (7, 6, 5, 1, 1)
    assert found.note == "the file is not whole: 839 of its 2520 bytes of samples are there"
    assert (NIFTI.preview("a", OneFile("a", content), 0, 7) == VOLUME[:, :, 2, 0, 0].T).all()


NOISE = numpy.random.default_rng(1).integers(0, 255, (64, 64, 20), "u1")


def test_cut_gzip_has_the_planes_that_are_whole() -> None:
    content = gzip.compress(nifti(NOISE))[:-30_000]
    found = recognised(content, "a")
    assert 11 <= found.images[0].size_z <= 13
    assert (found.note or "").endswith(" of its 81920 bytes of samples are there")
    middle = found.images[0].size_z // 2
    assert (NIFTI.preview("a", OneFile("a", content), 0, 64)[0] == NOISE[:, :, middle].T).all()
    assert recognised(content[:2000], "a").images == ()


def test_gzip_with_another_length_at_its_end() -> None:
    found = recognised(gzip.compress(nifti(NOISE)) + bytes(8), "a")
    assert found.images[0].size_z == 20
    assert found.note == "the file may not be whole: it does not end with the length that its header declares"


def test_gzip_with_a_gap_fails_in_the_picture_only() -> None:
    content = gzip.compress(nifti(NOISE))
    torn = content[:20_000] + content[-8:]
    with pytest.raises(Fault, match="the middle plane cannot be read"):
        NIFTI.preview("a", OneFile("a", torn), 0, 64)


def test_deep_in_a_compressed_file_no_picture_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(Fault, match="too deep"):
        NIFTI.preview("a", OneFile("a", gzip.compress(nifti(NOISE))), 0, 64)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(nifti(VOLUME)[:352] + bytes(64 << 20), 9)
    started = time.monotonic()
    assert recognised(bomb, "a").images[0].size_z == 5
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    ("header", "note"),
    [
        ({"dim": [3, -1, 5, 5, 1, 1, 1, 1]}, "a size of -1 x 5 x 5 x 1 x 1 (X Y Z C T) is not possible"),
        ({"dim": [9, 5, 5, 5, 1, 1, 1, 1]}, "9 axes are not possible"),
        ({"dim": [7, *[32767] * 7]}, "is not possible"),
        (
            {"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]},
            "the file is not whole: 2520 of its 70362301923326 bytes of samples are there",
        ),
        ({"vox_offset": 3}, "its data cannot begin at byte 3, within its header"),
        ({"vox_offset": numpy.inf}, "its header cannot be read"),
        ({"datatype": 1024, "bitpix": 64}, "pixels of type int64 are not known to OMERO"),
        ({"datatype": 77}, "its header cannot be read"),
    ],
)
def test_nifti_that_cannot_be(header: dict[str, object], note: str) -> None:
    raw = numpy.frombuffer(bytearray(nifti(VOLUME)), nibabel.Nifti1Header.template_dtype, 1).copy()
    for key, value in header.items():
        raw[key] = value
    found = recognised(raw.tobytes() + nifti(VOLUME)[348:], "a")
    assert note in (found.note or "")
    assert found.images == ()


# --- NRRD -------------------------------------------------------------------------------------------------


def nrrd_file(data: numpy.ndarray, **header: object) -> bytes:
    file = io.BytesIO()
    nrrd.write(file, data, header=header)
    return file.getvalue()


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ASCII"])
@pytest.mark.parametrize("order", "<>")
def test_nrrd(encoding: str, order: str) -> None:
    units = {"space units": ["mm"] * 3, "kinds": ["domain"] * 3 + ["time", "list"]}
    steps = numpy.vstack([numpy.diag([0.5, 0.25, 2]), numpy.full((2, 3), numpy.nan)])
    content = nrrd_file(VOLUME.astype(f"{order}i2"), encoding=encoding, **units, **{"space directions": steps})
    image = only_image(recognised(content, "a"))
    assert sizes(image) == (7, 6, 5, 2, 3)
    assert image.pixel_type == "int16"
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (500, 250, 2000)
    assert (NRRD.preview("a", OneFile("a", content), 0, 7) == VOLUME[:, :, 2, 1].transpose(2, 1, 0)).all()
    assert NRRD.preview("a", OneFile("a", content), 0, 3).shape == (2, 3, 4)


def test_nrrd_hexadecimal() -> None:
    head = b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 3 2\nencoding: hex\n\n"
    content = head + b"000102\n0304ff\n"
    assert only_image(recognised(content, "a")).size_y == 2
    assert NRRD.preview("a", OneFile("a", content), 0, 3).tolist() == [[[0, 1, 2], [3, 4, 255]]]
    with pytest.raises(Fault, match="not the text"):
        NRRD.preview("a", OneFile("a", head + b"these are no numbers"), 0, 3)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_nrrd_channels_on_any_axis(axis: int) -> None:
    data = numpy.moveaxis(VOLUME[..., 0, :], -1, axis)
    kinds = ["domain"] * 3
    kinds.insert(axis, "vector")
    content = nrrd_file(numpy.asfortranarray(data), kinds=kinds)
    assert sizes(only_image(recognised(content, "a"))) == (7, 6, 5, 2, 1)
    assert (NRRD.preview("a", OneFile("a", content), 0, 7) == VOLUME[:, :, 2, 0].transpose(2, 1, 0)).all()


def test_nrrd_colour_and_units_of_an_axis() -> None:
    header = {"kinds": ["RGB-color", "domain", "domain"], "spacings": [numpy.nan, 2, 3], "units": ["", "um", "nm"]}
    image = only_image(recognised(nrrd_file(numpy.zeros((3, 7, 6), "u1"), **header), "a"))
    assert (sizes(image), image.rgb) == ((7, 6, 1, 3, 1), True)
    assert image.physical_size_x_um == 2
    assert image.physical_size_y_um == pytest.approx(0.003)


DETACHED = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 7 6 5\nendian: little\nencoding: raw\n"
PLANES = VOLUME[..., 0, 0]
SAMPLES = PLANES.tobytes(order="F")


@pytest.mark.parametrize("field", [b"data file: a.raw\n", b"datafile: a.raw\nbyte skip: 0\n", b"data file: a.raw\n\n"])
def test_detached_nrrd(field: bytes) -> None:
    files = ManyFiles({"a.nhdr": DETACHED + field, "a.raw": SAMPLES})
    assert NRRD.members("a.nhdr", files) == Members("a.nhdr", ("a.nhdr", "a.raw"))
    assert NRRD.members("a.raw", files) == Members("a.nhdr", ("a.nhdr", "a.raw"), certain=False)
    assert sizes(only_image(registry.read("a.nhdr", files))) == (7, 6, 5, 1, 1)
    assert (NRRD.preview("a.nhdr", files, 0, 7)[0] == PLANES[:, :, 2].T).all()
    alone = registry.read("a.raw", OneFile("a.raw", SAMPLES))
    assert (alone.format, alone.images) == (None, ())
    assert alone.note == "no reader knows this format; if it is the data of a NRRD volume, a.nhdr belongs to it"


@pytest.mark.parametrize(
    "field", [b"data file: %d.raw 5 1 -1\n", b"data file: LIST 2\n" + b"5.raw\n4.raw\n3.raw\n2.raw\n1.raw\n"]
)
def test_nrrd_in_several_files(field: bytes) -> None:
    contents = {f"{5 - z}.raw": PLANES[:, :, z].tobytes(order="F") for z in range(5)}
    files = ManyFiles({"a.nhdr": DETACHED + field, **contents})
    members = NRRD.members("a.nhdr", files)
    assert members is not None
    assert members.names == ("a.nhdr", "5.raw", "4.raw", "3.raw", "2.raw", "1.raw")
    assert sizes(only_image(registry.read("a.nhdr", files))) == (7, 6, 5, 1, 1)
    assert (NRRD.preview("a.nhdr", files, 0, 7)[0] == PLANES[:, :, 2].T).all()
    del contents["3.raw"]
    found = registry.read("a.nhdr", ManyFiles({"a.nhdr": DETACHED + field, **contents}))
    assert found.images[0].size_z == 2
    assert found.note == "3.raw, which has a part of its data, is missing: put it beside this file"


@pytest.mark.parametrize(("field", "before"), [(b"byte skip: 9\n", b"012345678"), (b"byte skip: -1\n", b"any words"),
                                               (b"line skip: 2\n", b"one\ntwo\n")])  # fmt: skip
def test_what_stands_before_the_samples_is_skipped(field: bytes, before: bytes) -> None:
    files = ManyFiles({"a.nhdr": DETACHED + field + b"data file: b.dat\n", "b.dat": before + SAMPLES})
    assert only_image(registry.read("a.nhdr", files)).size_z == 5
    assert (NRRD.preview("a.nhdr", files, 0, 7)[0] == PLANES[:, :, 2].T).all()


@pytest.mark.parametrize("outside", [b"../a.raw", b"/etc/passwd", b"b/../../a.raw"])
def test_nrrd_names_no_file_outside(outside: bytes) -> None:
    files = ManyFiles({"a.nhdr": DETACHED + b"data file: " + outside + b"\n"})
    assert NRRD.members("a.nhdr", files) is None
    found = registry.read("a.nhdr", files)
    assert found.note == (
        f"its data file {outside.decode()} lies outside its directory: put it beside the header; no image can be read"
    )


@pytest.mark.parametrize(
    ("header", "note"),
    [
        (
            b"type: short\nencoding: raw\ndimension: 1\nsizes: 0\n",
            "a size of 0 x 1 x 1 x 1 x 1 (X Y Z C T) is not possible",
        ),
        (b"type: block\nencoding: raw\ndimension: 1\nsizes: 1\n", "samples of type block cannot be read"),
        (b"type: int64\nencoding: raw\ndimension: 1\nsizes: 1\n", "pixels of type int64 are not known to OMERO"),
        (b"type: short\nencoding: zip\ndimension: 1\nsizes: 1\n", "the encoding zip cannot be read"),
        (b"type: short\nencoding: raw\nsizes: a b\n", "its header cannot be read"),
        (b"no field\n", "its header cannot be read"),
        (
            b"type: short\nencoding: raw\ndimension: 2\nsizes: 99999 99999\n",
            "0 of its 19999600002 bytes of samples are there",
        ),
        (b"type: short\nencoding: gzip\nbyte skip: -1\ndimension: 1\nsizes: 9\n", "cannot be counted from the end"),
        (DETACHED[9:] + b"data file: %d.raw 1 4 1\n", "its 210 samples cannot be spread over 4 files"),
        (DETACHED[9:] + b"data file: %d.raw 1 4 0\n", "cannot be counted"),
        (DETACHED[9:] + b"data file: %d.raw 1 999999999 1\n", "it names more than 100000 data files"),
    ],
)
def test_nrrd_that_cannot_be(header: bytes, note: str) -> None:
    found = recognised(b"NRRD0005\n" + header + b"\n", "a")
    assert note in (found.note or "")
    assert found.images == ()


def test_nrrd_ends_within_its_header() -> None:
    assert "ends within its header" in (recognised(DETACHED, "a").note or "")


# --- PAR/REC ----------------------------------------------------------------------------------------------


PARS = Path(nibabel.__file__).parent / "tests" / "data"


def pair(name: str, slices: int, height: int, width: int) -> ManyFiles:
    """Return a table that comes with nibabel, and data whose slices are full of their number."""
    table = PARS / f"{name}.PAR"
    if not table.is_file():
        pytest.skip("this nibabel comes without its tables")
    data = numpy.broadcast_to(numpy.arange(slices, dtype="<u2")[:, None, None], (slices, height, width))
    return ManyFiles({"a.PAR": table.read_bytes(), "a.REC": data.tobytes()})


def test_dynamics_are_time_points() -> None:
    files = pair("phantom_EPI_asc_CLEAR_2_1", 27, 64, 64)
    image = only_image(registry.read("a.PAR", files))
    assert image == ImageInfo(
        name="EPI_asc CLEAR",
        series=0,
        size_x=64,
        size_y=64,
        size_z=9,
        size_c=1,
        size_t=3,
        pixel_type="uint16",
        physical_size_x_um=3750,
        physical_size_y_um=3750,
        physical_size_z_um=8000,
        time_increment_s=2,
        instrument="Philips",
    )
    assert PARREC.preview("a.PAR", files, 0, 32).shape == (1, 32, 32)
    assert (PARREC.preview("a.PAR", files, 0, 64) == 9 + 4).all()


@pytest.mark.parametrize(
    ("name", "slices", "expected"),
    [("DTI", 80, (10, 8, 1)), ("ASL_3D_Multiecho", 96, (8, 6, 2)), ("T2_-interleaved", 20, (10, 1, 2))],
)
def test_what_differs_but_the_dynamic_is_a_channel(
    name: str, slices: int, expected: tuple[int, int, int], tmp_path: Path
) -> None:
    files = pair(name, slices, 80, 80)
    image = only_image(registry.read("a.PAR", files))
    assert (image.size_z, image.size_c, image.size_t) == expected
    for part in files.names():
        (tmp_path / part).write_bytes(files.open(part).read())
    reference = nibabel.parrec.load(str(tmp_path / "a.PAR")).dataobj.get_unscaled()[0, 0, image.size_z // 2]
    seen = PARREC.preview("a.PAR", files, 0, 80)[:, 0, 0].tolist()
    if image.size_t == 1:
        assert seen == reference.tolist()
    elif image.size_c == 1:
        assert seen == [reference[image.size_t // 2]]
    else:  # labelled and not, three delays: the volumes of the second dynamic
        table = nibabel.parrec.load(str(tmp_path / "a.PAR")).header.image_defs["dynamic scan number"]
        assert seen == [value for value in reference.tolist() if table[value] == 2]


def test_a_pair_is_one_fileset() -> None:
    files = pair("T1", 10, 80, 80)
    assert PARREC.members("a.PAR", files) == Members("a.PAR", ("a.PAR", "a.REC"))
    assert PARREC.members("a.REC", files) == Members("a.PAR", ("a.PAR", "a.REC"), certain=False)
    assert PARREC.members("b.rec", files) == Members("b.par", ("b.par", "b.rec"), certain=False)
    assert registry.read("a.REC", files).images == ()
    alone = registry.read("a.PAR", OneFile("a.PAR", files.open("a.PAR").read()))
    assert alone.note == "a.REC, which has its slices, is missing: put it beside this file; no image can be read"


def test_short_data_has_the_slices_that_are_whole() -> None:
    files = pair("phantom_EPI_asc_CLEAR_2_1", 20, 64, 64)
    found = registry.read("a.PAR", files)
    assert (found.images[0].size_z, found.images[0].size_t) == (20, 1)
    assert found.note == "the file is not whole: 163840 of its 221184 bytes of samples are there"
    assert (PARREC.preview("a.PAR", files, 0, 64) == 10).all()


def test_a_table_that_is_none() -> None:
    found = registry.read("a.PAR", OneFile("a.PAR", b"# === DATA DESCRIPTION FILE ====\n#\n.  a : b\n"))
    assert "its table of slices cannot be read" in (found.note or "")


# --- damage -----------------------------------------------------------------------------------------------


WHOLE = [
    nifti(VOLUME),
    gzip.compress(nifti(VOLUME)),
    nrrd_file(VOLUME, encoding="raw"),
    nrrd_file(VOLUME, encoding="gzip"),
    nrrd_file(VOLUME, encoding="bzip2"),
]


@pytest.mark.parametrize("content", WHOLE)
def test_cut_short(content: bytes) -> None:
    for part in damage.cut(content):
        damage.asked("a", OneFile("a", part))


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=400, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations(content: bytes, changes: list[tuple[int, bytes]]) -> None:
    damage.asked("a", OneFile("a", damage.changed(content, changes)))


def test_nothing_is_loaded_late(tmp_path: Path) -> None:
    table = pair("phantom_EPI_asc_CLEAR_2_1", 27, 64, 64)
    contents = {str(number): content for number, content in enumerate([*WHOLE, nrrd_file(VOLUME, encoding="ASCII")])}
    contents |= {name: table.open(name).read() for name in table.names()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert damage.loaded_late(tmp_path, [name for name in contents if name != "a.REC"]) == []
