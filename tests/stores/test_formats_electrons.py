"""The readers of the extra ``em``, DigitalMicrograph and Velox, and the house without it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.digital_micrograph import DigitalMicrographReader
from repofs.formats.velox import VeloxReader
from repofs.image import Recognised
from tests.helpers.digital_micrograph import KINDS, RGB, document, image
from tests.helpers.formats import OneFile, recognised

STACK = numpy.arange(5 * 40 * 60).reshape(5, 40, 60)
NANOMETRES = ((2.0, "nm"), (3.0, "nm"))


def read(raw: bytes, name: str = "scan.dm4") -> Recognised:
    return recognised(raw, name)


def preview(raw: bytes, name: str = "scan.dm4", series: int = 0) -> numpy.ndarray:
    reader = registry._reader(name, OneFile(name, raw))
    assert reader is not None
    return reader.preview(name, OneFile(name, raw), series, 20)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "complex" not in kind])
@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("order", "<>")
def test_pixel_types_versions_and_byte_orders(kind: str, version: int, order: str) -> None:
    samples = STACK.astype(kind)
    raw = document(image(samples, scales=NANOMETRES), version=version, order=order)
    found = read(raw)
    (only,) = found.images
    assert (only.size_x, only.size_y, only.size_z, only.size_c, only.size_t) == (60, 40, 5, 1, 1)
    assert only.pixel_type == {"float32": "float", "float64": "double"}.get(kind, kind)
    assert (only.name, only.big_endian, found.note) == ("scan.dm4", order == ">", None)
    assert (only.physical_size_x_um, only.physical_size_y_um, only.physical_size_z_um) == (0.002, 0.003, None)
    assert numpy.array_equal(preview(raw), samples[2, ::3, ::3][None])


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_complex_numbers(kind: str) -> None:
    samples = (STACK[0] * (1 + 2j)).astype(kind)
    raw = document(image(samples))
    assert read(raw).images[0].pixel_type == {"complex64": "complex", "complex128": "double-complex"}[kind]
    assert numpy.array_equal(preview(raw), samples[None, ::3, ::3])


def test_colours() -> None:
    samples = STACK[0].astype("u4")  # as blue, green, red, unused
    raw = document(image(samples, kind=RGB))
    (only,) = read(raw).images
    assert (only.size_c, only.rgb, only.pixel_type) == (4, True, "uint8")
    blue_first = samples.view("u1").reshape(40, 60, 4).transpose(2, 0, 1)
    assert numpy.array_equal(preview(raw), blue_first[2::-1, ::3, ::3])


def test_time_line_and_microscope() -> None:
    movie = image(STACK.astype("i2"), "movie", (*NANOMETRES, (500.0, "ms")), **{"Microscope Info": {"Name": "Titan"}})
    (only,) = read(document(movie)).images
    assert (only.size_z, only.size_t, only.time_increment_s) == (1, 5, 0.5)
    assert (only.name, only.instrument) == ("movie", "Titan")
    (line,) = read(document(image(STACK[0, 0].astype("i2"), scales=((0.5, "eV"),)))).images
    assert (line.size_x, line.size_y, line.physical_size_x_um) == (60, 1, None)


def test_thumbnails_are_no_images() -> None:
    raw = document(image(STACK[0, :4, :4].astype("u1")), image(STACK[0].astype("i2")), image(STACK[1].astype("i2")),
                   thumbnails=(0,))  # fmt: skip
    assert [(only.name, only.series) for only in read(raw).images] == [("scan.dm4 [0]", 0), ("scan.dm4 [1]", 1)]
    assert numpy.array_equal(preview(raw, series=1), STACK[1, ::3, ::3][None])
    with pytest.raises(LookupError):
        preview(raw, series=2)


@pytest.mark.parametrize(
    ("made", "note"),
    [
        (image(STACK[0].astype("f4"), kind=5), "it is half of a Fourier transform, which is not read"),
        (image(STACK[0].astype("f4"), kind=4), "pixels of kind 4 are not known to OMERO"),
        (image(STACK[0].astype("f4"), shape=(0, 60)), "a shape of (0, 60) is not possible"),
        (image(STACK[0].astype("f4"), shape=(4000, 60)), "it has 9600 bytes of 960000"),
    ],
)
def test_images_that_are_none(made: dict[str, Any], note: str) -> None:
    assert read(document(made)).note == f"image 0: {note}; no image can be read"


def test_a_number_at_the_start_is_not_enough() -> None:
    assert "no reader knows this format" in str(read(b"\0\0\0\x03" + bytes(100)[:4] + b"\1\1\1\1", "x.bin").note)


DM = [document(image(STACK[0].astype("i2"), scales=NANOMETRES), version=version) for version in (3, 4)]


@pytest.mark.parametrize("whole", DM)
def test_every_cut_is_noticed(whole: bytes) -> None:
    for length in [2**power for power in range(5, 16) if 2**power < len(whole)] + [len(whole) - 1]:
        found = read(whole[:length])
        assert found.images == ()
        assert str(found.note).startswith("the file is damaged or not whole (")


def velox(
    data: numpy.ndarray, metadata: dict[str, Any] | None = None, label: str | None = None, **how: object
) -> bytes:
    """Return an EMD of one image (Y, X, T)."""
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        hdf5["Version"] = [json.dumps({"version": "7"})]
        group = hdf5.create_group("Data/Image/abc")
        group.create_dataset("Data", data=data, **how)
        text = numpy.zeros((3000, data.shape[-1]), "u1")
        raw = json.dumps(metadata or {}).encode()
        text[: len(raw), 0] = list(raw)
        group["Metadata"] = text
        if label is not None:
            operation = {"dataPath": "/Data/Image/abc", "cameraName": label}
            hdf5["Operations/CameraInputOperation/def"] = [json.dumps(operation)]
    return file.getvalue()


FRAMES = STACK.astype("i2").transpose(1, 2, 0)
METADATA = {
    "Instrument": {"Manufacturer": "FEI Company", "InstrumentModel": "Titan"},
    "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1575540224"}},
    "BinaryResult": {"PixelSize": {"width": "2e-9", "height": "3e-9"}, "PixelUnitX": "m", "PixelUnitY": "m",
                     "DetectorIndex": "1"},
    "Detectors": {"Detector-1": {"DetectorName": "HAADF"}},
    "Scan": {"FrameTime": "0.25"},
}  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"chunks": (40, 60, 1), "compression": "gzip"}])
def test_velox(how: dict[str, object]) -> None:
    raw = velox(FRAMES, METADATA, "Ceta", **how)
    found = read(raw, "stack.emd")
    (only,) = found.images
    assert (only.size_x, only.size_y, only.size_z, only.size_c, only.size_t) == (60, 40, 1, 1, 5)
    assert (only.name, only.pixel_type, found.note, found.format) == ("Ceta", "int16", None, "Velox EMD")
    assert (only.physical_size_x_um, only.physical_size_y_um) == pytest.approx((0.002, 0.003))
    assert (only.acquired, only.time_increment_s) == ("2019-12-05T10:03:44", 0.25)
    assert only.instrument == "FEI Company Titan"
    assert found.original_metadata["Detectors.Detector-1.DetectorName"] == "HAADF"
    assert numpy.array_equal(preview(raw, "stack.emd"), FRAMES[::3, ::3, 2][None])
    with pytest.raises(LookupError):
        preview(raw, "stack.emd", 1)


def test_velox_without_its_operations_is_called_as_its_detector() -> None:
    assert read(velox(FRAMES, METADATA), "stack.emd").images[0].name == "HAADF"
    assert read(velox(FRAMES), "stack.emd").images[0].name == "stack.emd"


def test_velox_of_complex_numbers() -> None:
    pairs = numpy.zeros((40, 60, 1), [("realFloat", "<f4"), ("imagFloat", "<f4")])
    pairs["realFloat"], pairs["imagFloat"] = STACK[:1].transpose(1, 2, 0), 1
    raw = velox(pairs)
    assert read(raw, "dpc.emd").images[0].pixel_type == "complex"
    assert numpy.array_equal(preview(raw, "dpc.emd"), STACK[:1, ::3, ::3] + 1j)


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (numpy.zeros((4, 4), "u1"), "a shape of (4, 4) is not possible"),
        (numpy.zeros((4, 4, 1), "i8"), "pixels of type int64 are not known to OMERO"),
    ],
)
def test_velox_of_what_is_no_image(data: numpy.ndarray, note: str) -> None:
    assert read(velox(data), "x.emd").note == f"image 0: {note}; no image can be read"


def test_velox_of_a_shape_without_pixels(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.emd", "w") as hdf5:
        hdf5.create_dataset("Data/Image/a/Data", (1 << 30, 1 << 30, 4), "u2", chunks=(1024, 1024, 1))
    raw = (tmp_path / "x.emd").read_bytes()
    assert read(raw, "x.emd").note == "image 0: it has no pixels; no image can be read"


def test_velox_does_not_unpack_a_huge_chunk(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.emd", "w") as hdf5:
        data = hdf5.create_dataset("Data/Image/a/Data", (1 << 15, 1 << 15, 1), "u1", chunks=(1 << 15, 1 << 15, 1))
        data.id.write_direct_chunk((0, 0, 0), b"bomb")
    raw = (tmp_path / "x.emd").read_bytes()
    with pytest.raises(ValueError, match="a preview unpacks at most 536870912 bytes at once, and would have to 10737"):
        preview(raw, "x.emd")


def test_hdf5_that_is_not_of_velox() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as hdf5:
        hdf5["data/x"] = [1]
    assert read(file.getvalue(), "x.emd").note == "it has no images as Velox writes them; no image can be read"


VELOX = velox(FRAMES, METADATA, "Ceta", chunks=(40, 60, 1), compression="gzip")


def test_every_cut_of_velox_is_noticed() -> None:
    for length in [2**power for power in range(5, 18) if 2**power < len(VELOX)] + [len(VELOX) - 1]:
        found = read(VELOX[:length], "stack.emd")
        assert found.images == ()
        assert str(found.note).startswith("the file is damaged or not whole (")


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from([(whole, "scan.dm4") for whole in DM] + [(VELOX, "stack.emd")]),
    st.lists(st.tuples(st.integers(12, 9000), st.binary(min_size=1, max_size=8)), max_size=4),
)
def test_damage_is_survived(file: tuple[bytes, str], changes: list[tuple[int, bytes]]) -> None:
    raw, name = bytearray(file[0]), file[1]
    for at, data in changes:
        raw[at : at + len(data)] = data
    started = time.monotonic()
    for question in (lambda raw: read(raw, name), lambda raw: registry.picture(name, OneFile(name, raw), 0)):
        try:
            question(bytes(raw))
        except ReaderFailed as error:
            assert "out of memory" not in error.message
    assert time.monotonic() - started < 2


def test_nothing_is_imported_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """A confined process may be unable to read a module any more."""
    for name, raw in (("3.dm3", DM[0]), ("4.dm4", DM[1]), ("5.emd", VELOX)):
        (tmp_path / name).write_bytes(raw)
    program = f"""
import sys
from pathlib import Path
from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
registry.readers()
before = set(sys.modules)
files = LocalFiles(Path({str(tmp_path)!r}))
for name in files.names():
    assert registry.read(name, files).images
    registry.picture(name, files, 0)
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_house_does_without_the_extra() -> None:
    """As where RosettaSciIO is not installed: its distribution is not found, and nothing of it can be imported."""
    program = """
import importlib.metadata, sys
real = importlib.metadata.version
def version(name):
    if name == "rosettasciio":
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
sys.modules["rsciio"] = None
from repofs.formats import registry
from tests.helpers.formats import recognised
print(recognised(b"\\0\\0\\0\\x04" + bytes(100), "scan.dm4").note)
print(any(reader.library == "rosettasciio" for reader in registry.readers()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    note = "DigitalMicrograph is read once pip install 'repofs[em]' has been run: kept as an original without an image"
    assert done.stdout.splitlines() == [note, "False"]


def test_readers_are_of_the_extra() -> None:
    assert {DigitalMicrographReader, VeloxReader} <= {type(reader) for reader in registry.readers()}
