"""The reader of ICS: pairs and single files, axes in any order, packed samples, and damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.ics.reader import IcsReader
from repofs.formats.local_files import LocalFiles
from repofs.image import Members
from tests.helpers.damage import asked, changed, cut, loaded_late
from tests.helpers.formats import OneFile, only_image, preview, recognised, sizes, um


def ics_of(
    order: str, size: str, version: str = "1.0", *more: str, kind: str = "integer unsigned", byte_order: str = "1 2"
) -> bytes:
    """Return a header, with tabs for blanks and newlines."""
    number, sign = kind.split()
    lines = [
        f"ics_version {version}",
        "filename scan",
        f"layout order {order}",
        f"layout sizes {size}",
        f"representation format {number}",
        f"representation sign {sign}",
        f"representation byte_order {byte_order}",
        *more,
    ]
    return b"\t\n" + "".join(line.replace(" ", "\t") + "\n" for line in lines).encode()


def pair(directory: Path, header: bytes, samples: bytes) -> LocalFiles:
    (directory / "scan.ics").write_bytes(header)
    (directory / "scan.ids").write_bytes(samples)
    return LocalFiles(directory)


ICS_SCALES = ("parameter scale 1 0.25 250 0.001 1 2", "parameter units relative micrometers nm mm undefined seconds")


def test_ics_pair(tmp_path: Path) -> None:
    data = numpy.arange(2 * 4 * 3 * 40 * 600, dtype="u2").reshape(2, 4, 3, 40, 600)  # T, C, Z, Y, X
    header = ics_of("bits x y z ch t", "16 600 40 3 4 2", "1.0", *ICS_SCALES)
    files = pair(tmp_path, header, data.tobytes())
    image = only_image(registry.read("scan.ics", files))
    assert (sizes(image), image.pixel_type, image.name) == ((600, 40, 3, 4, 2), "uint16", "scan.ics")
    assert um(image) == pytest.approx((0.25, 0.25, 1.0))
    assert image.time_increment_s == 2.0
    assert (IcsReader().preview("scan.ics", files, 0, 256) == data[1, :, 1, ::2, ::2]).all()


@pytest.mark.parametrize("packed", [False, True])
def test_ics_orders(packed: bool, tmp_path: Path) -> None:
    """Channels that lie together, and planes across: every order gives the same picture."""
    data = numpy.arange(3 * 2 * 5 * 7, dtype="u2").reshape(3, 2, 5, 7)
    for order in ("c z y x", "z c y x", "z y c x", "z y x c", "y z x c", "x y z c", "x c z y", "c x z y"):
        axes = order.split()  # as numpy has them, the slowest first
        raw = data.transpose(["czyx".index(axis) for axis in axes]).tobytes()
        count = dict(zip("czyx", data.shape, strict=True))
        header = ics_of(
            f"bits {' '.join(reversed(axes))}", f"16 {' '.join(str(count[axis]) for axis in reversed(axes))}", "1.0",
            *(["representation compression gzip"] if packed else []),
        )  # fmt: skip
        files = pair(tmp_path, header, gzip.compress(raw) if packed else raw)
        assert sizes(only_image(registry.read("scan.ics", files))) == (7, 5, 2, 3, 1)
        assert (IcsReader().preview("scan.ics", files, 0, 4) == data[:, 1, :, :]).all(), order
        assert (IcsReader().preview("scan.ics", files, 0, 3) == data[:, 1, ::2, ::2]).all(), order


@pytest.mark.parametrize(
    ("bits", "kind", "dtype", "omero"),
    [
        (8, "integer signed", "i1", "int8"),
        (16, "integer signed", ">i2", "int16"),
        (32, "integer unsigned", "<u4", "uint32"),
        (32, "real signed", ">f4", "float"),
        (64, "real signed", "<f8", "double"),
        (64, "complex signed", "<c8", "complex"),
    ],
)
def test_ics_types(bits: int, kind: str, dtype: str, omero: str) -> None:
    data = numpy.arange(12).reshape(3, 4).astype(dtype)
    places = [str(n + 1) for n in range(bits // 8)]
    byte_order = " ".join(reversed(places) if dtype.startswith(">") else places)
    raw = ics_of("bits x y", f"{bits} 4 3", "2.0", "end", kind=kind, byte_order=byte_order) + data.tobytes()
    image = only_image(recognised(raw, "a.ics"))
    assert (image.pixel_type, image.big_endian) == (omero, dtype.startswith(">"))
    assert (preview(IcsReader(), raw, "a.ics") == data).all()


def test_ics_2_names_its_samples(tmp_path: Path) -> None:
    header = ics_of("bits x y", "16 4 3", "2.0", "source file raw.dat", "source offset 5", "end")
    data = numpy.arange(12, dtype="u2").reshape(1, 3, 4)
    (tmp_path / "a.ics").write_bytes(header)
    (tmp_path / "raw.dat").write_bytes(b"12345" + data.tobytes())
    files = LocalFiles(tmp_path)
    assert IcsReader().members("a.ics", files) == Members("a.ics", ("a.ics", "raw.dat"))
    assert sizes(only_image(registry.read("a.ics", files))) == (4, 3, 1, 1, 1)
    assert (IcsReader().preview("a.ics", files, 0, 256) == data).all()


def test_ics_2_with_packed_samples_behind_the_header() -> None:
    data = numpy.arange(2 * 3 * 4, dtype="u2").reshape(2, 3, 4)
    raw = ics_of("bits x y c", "16 4 3 2", "2.0", "representation compression gzip", "end") + gzip.compress(
        data.tobytes()
    )
    assert sizes(only_image(recognised(raw, "a.ics"))) == (4, 3, 1, 2, 1)
    assert (preview(IcsReader(), raw, "a.ics") == data).all()
    assert IcsReader().members("a.ics", OneFile("a.ics", raw)) is None


@pytest.mark.parametrize("name", ["scan.ics", "scan.ids"])
def test_ics_both_parts_say_the_same_main(name: str, tmp_path: Path) -> None:
    files = pair(tmp_path, ics_of("bits x y", "16 4 3"), bytes(24))
    found = IcsReader().members(name, files)
    assert found == Members("scan.ics", ("scan.ics", "scan.ids"), certain=name == "scan.ics")


def test_ics_names_in_capitals() -> None:
    raw = ics_of("bits x y", "16 4 3")
    assert IcsReader().members("SCAN.ICS", OneFile("SCAN.ICS", raw)) == Members("SCAN.ICS", ("SCAN.ICS", "SCAN.IDS"))
    found = IcsReader().members("SCAN.IDS", OneFile("SCAN.IDS", b"xxxx"))
    assert found == Members("SCAN.ICS", ("SCAN.ICS", "SCAN.IDS"), certain=False)


def test_ics_samples_alone() -> None:
    found = recognised(b"xxxx", "scan.ids")
    assert found.note == "these are samples: their header scan.ics did not come with them; no image can be read"


def test_ics_wavelengths_and_lens() -> None:
    more = ("sensor s_params LambdaEx 488 561", "sensor s_params LambdaEm 520 600", "sensor s_params NumAperture 1.3",
            "sensor model A1R confocal", "history author someone")  # fmt: skip
    raw = ics_of("bits x y ch", "8 4 3 2", "2.0", *more, "end") + bytes(24)
    found = recognised(raw, "a.ics")
    image = only_image(found)
    assert [(c.excitation_nm, c.emission_nm) for c in image.channels] == [(488.0, 520.0), (561.0, 600.0)]
    assert (image.numerical_aperture, image.instrument) == (1.3, "A1R confocal")
    assert found.original_metadata["history.author"] == "someone"


def test_ics_header_with_other_separators() -> None:
    raw = ics_of("bits x y", "8 4 3", "2.0", "end").replace(b"\t", b"|").replace(b"\n", b"\r\n") + bytes(12)
    assert sizes(only_image(recognised(raw, "a.ics"))) == (4, 3, 1, 1, 1)


def test_ics_axes_of_other_kinds_take_the_letters_that_are_left() -> None:
    raw = ics_of("bits micro-time x y z", "8 6 4 3 2", "2.0", "end") + bytes(144)
    assert sizes(only_image(recognised(raw, "a.ics"))) == (4, 3, 2, 6, 1)


@pytest.mark.parametrize(
    ("samples", "note"),
    [
        (bytes(71), "scan.ids has not all samples"),
        (bytes(23), "scan.ids has not all samples; no image can be read"),
        (None, "the file scan.ids with the samples is missing: put it beside this one; no image can be read"),
    ],
)
def test_ics_with_too_few_samples(samples: bytes | None, note: str, tmp_path: Path) -> None:
    files = pair(tmp_path, ics_of("bits x y z", "16 4 3 3"), samples or b"")
    if samples is None:
        (tmp_path / "scan.ids").unlink()
    found = registry.read("scan.ics", files)
    assert found.note == note
    assert [image.size_z for image in found.images] == ([] if "no image" in note else [2])


@pytest.mark.parametrize("packed", [gzip.compress(bytes(22)), gzip.compress(bytes(24))[:-1], b"\x1f\x8b"], ids=len)
def test_ics_with_too_few_packed_samples(packed: bytes) -> None:
    raw = ics_of("bits x y", "16 4 3", "2.0", "representation compression gzip", "end") + packed
    assert recognised(raw, "a.ics").note == "a.ics has not all samples; no image can be read"


def test_ics_that_claims_more_than_deflate_can_hold() -> None:
    raw = ics_of("bits x y z", "8 65536 65536 65536", "2.0", "representation compression gzip", "end") + bytes(100)
    assert recognised(raw, "a.ics").note == "a.ics has not all samples; no image can be read"


@pytest.mark.parametrize(
    ("order", "size", "more", "note"),
    [
        ("x y", "4 3", "", "its order does not begin with bits"),
        ("bits x z", "8 4 3", "", "its order (bits x z) is not one of an image"),
        ("bits x y x", "8 4 3 2", "", "its order (bits x y x) is not one of an image"),
        ("bits x y a b c d", "8 4 3 1 1 1 1", "", "its order (bits x y a b c d) is not one of an image"),
        ("bits x y", "8 4", "", "its sizes are not those of its axes"),
        ("bits x y", "8 4 -3", "", "its sizes are not those of its axes"),
        ("bits x y", "8 4 0", "", "sizes of 4 x 0 x 1 x 1 x 1 are not possible"),
        ("bits x y", "12 4 3", "", "unsigned integer samples of 12 bits are not known to OMERO"),
        ("bits x y", "8 4 3", "representation compression compress",
         "its samples are packed by compress, which cannot be read: pack them with gzip"),
        ("bits x y", "8 4 3", "source file ../../b/raw.ids",
         "it names a file that does not lie beside it: put that there, and its bare name in the header"),
        ("bits x y", "8 4 3", "source file /etc/passwd",
         "it names a file that does not lie beside it: put that there, and its bare name in the header"),
    ],
)  # fmt: skip
def test_ics_that_cannot_be(order: str, size: str, more: str, note: str) -> None:
    raw = ics_of(order, size, "2.0", more, "end") + bytes(100)
    assert recognised(raw, "a.ics").note == f"{note}; no image can be read"
    assert IcsReader().members("a.ics", OneFile("a.ics", raw)) is None


def test_ics_offset_that_is_no_number(tmp_path: Path) -> None:
    header = ics_of("bits x y", "8 4 3", "2.0", "source file scan.ids", "source offset abc", "end")
    found = registry.read("scan.ics", pair(tmp_path, header, bytes(12)))
    assert found.note == "its samples begin at an offset that is no number; no image can be read"


# --- damage --------------------------------------------------------------------------------------


SMALL = ics_of("bits x y z", "8 4 3 2", "2.0", *ICS_SCALES, "end") + bytes(24)


def test_no_image_beyond_the_first() -> None:
    with pytest.raises(ReaderFailed, match="finds no image 1"):
        registry.picture("a.ics", OneFile("a.ics", SMALL), 1)
    with pytest.raises(LookupError):
        IcsReader().preview("a.ics", OneFile("a.ics", SMALL), 1, 256)


def test_cut_short() -> None:
    for raw in cut(SMALL):
        found = asked("a.ics", OneFile("a.ics", raw))
        assert found is not None
        assert found.note is not None


@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=8)), max_size=6))
@settings(max_examples=200, deadline=5000, derandomize=True)
def test_mutations(changes: list[tuple[int, bytes]]) -> None:
    asked("a.ics", OneFile("a.ics", changed(SMALL, changes)))


def test_nothing_is_loaded_in_the_middle_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.ics").write_bytes(SMALL)
    assert loaded_late(tmp_path, ["a.ics"]) == []
