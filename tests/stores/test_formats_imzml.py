"""The reader of imzML on pairs of files, halves of them, cut ones and hostile ones."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyimzml.ImzMLWriter import ImzMLWriter

from repofs.errors import ReaderFailed
from repofs.formats import imzml, registry
from repofs.formats.imzml import ImzmlReader
from repofs.formats.local_files import LocalFiles
from repofs.image import Members, Recognised

MICROMETRES = b'unitCvRef="UO" unitAccession="UO:0000017" unitName="micrometer"/>'


def written(directory: Path, width: int = 6, height: int = 4, kind: type = numpy.float32) -> Path:
    """Write a pair in which the intensities at (x, y), from 1, add up to 100 y + x, but none at (2, 1)."""
    path = directory / "tissue.imzML"
    with ImzMLWriter(str(path), intensity_dtype=kind) as writer:
        for y in range(1, height + 1):
            for x in range(1, width + 1):
                if (x, y) != (2, 1):
                    writer.addSpectrum(numpy.array([50.0, 60.0]), numpy.array([100.0 * y, x]), (x, y))
    return path


def changed(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    raw = path.read_bytes()
    for old, new in changes:
        assert old in raw
        raw = raw.replace(old, new)
    path.write_bytes(raw)
    return path


def read(path: Path) -> Recognised:
    return registry.read(path.name, LocalFiles(path.parent))


def preview(path: Path, pixels: int = 256) -> numpy.ndarray:
    return ImzmlReader().preview(path.name, LocalFiles(path.parent), 0, pixels)


@pytest.mark.parametrize(
    ("kind", "stored"), [(numpy.float32, "float"), (numpy.float64, "double"), (numpy.int32, "int32")]
)
def test_an_image_is_the_grid_of_the_scan(tmp_path: Path, kind: type, stored: str) -> None:
    path = written(tmp_path, kind=kind)
    found = read(path)
    (image,) = found.images
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (6, 4, 1, 1, 1)
    assert (image.pixel_type, image.name, found.note, found.format) == (stored, "tissue.imzML", None, "imzML")
    assert image.physical_size_x_um is None
    assert found.original_metadata["file_description.MS1 spectrum"] == "True"


def test_preview_is_the_sum_of_each_spectrum(tmp_path: Path) -> None:
    path = written(tmp_path)
    sums = numpy.add.outer(100.0 * numpy.arange(1, 5), numpy.arange(1, 7))
    sums[0, 1] = 0
    assert numpy.array_equal(preview(path), sums[None])
    assert numpy.array_equal(preview(path, 3), sums[None, ::2, ::2])
    with pytest.raises(LookupError):
        ImzmlReader().preview(path.name, LocalFiles(tmp_path), 1, 256)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (b'<cvParam accession="IMS:1000046" name="pixel size (x)" value="50" ' + MICROMETRES, (50.0, 50.0)),
        (b'<cvParam accession="IMS:1000046" name="pixel size (x)" value="50" ' + MICROMETRES
         + b'<cvParam accession="IMS:1000047" value="0.02" unitAccession="UO:0000016"/>', (50.0, 20.0)),
        (b'<cvParam accession="IMS:1000046" name="pixel size (x)" value="0" ' + MICROMETRES, (None, None)),
        (b'<cvParam accession="IMS:1000046" name="pixel size (x)" value="50"/>', (None, None)),
    ],
)  # fmt: skip
def test_size_of_a_pixel(tmp_path: Path, given: bytes, size: tuple[float | None, float | None]) -> None:
    path = changed(written(tmp_path), (b"</scanSettings>", given + b"</scanSettings>"))
    (image,) = read(path).images
    assert (image.physical_size_x_um, image.physical_size_y_um) == size


def test_both_files_are_one_fileset_whichever_comes_first(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    written(tmp_path)
    both = ("tissue.imzML", "tissue.ibd")
    assert registry.look("tissue.imzML", files) == Members("tissue.imzML", both)
    assert registry.look("tissue.ibd", files) == Members("tissue.imzML", both, certain=False)
    (tmp_path / "tissue.imzML").rename(tmp_path / "tissue.imzml")
    assert registry.look("tissue.ibd", files) == Members("tissue.imzml", ("tissue.imzml", "tissue.ibd"), certain=False)
    (tmp_path / "tissue.imzml").unlink()
    assert registry.look("tissue.ibd", files) == Members("tissue.imzML", both, certain=False)


def test_one_half_is_no_image(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "tissue.ibd").rename(tmp_path / "other.ibd")
    assert read(path).note == "its spectra are in tissue.ibd, which is not there; no image can be read"
    note = "it has only spectra, what they are of is in other.imzML; no image can be read"
    assert read(tmp_path / "other.ibd").note == note


def test_spectra_that_are_not_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = tmp_path / "tissue.ibd"
    whole = data.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        data.write_bytes(whole[:length])
        found = read(path)
        assert found.images == ()
        note = f"tissue.ibd is not whole: it has {length} bytes of {len(whole)}; no image can be read"
        assert found.note == note


def test_spectra_of_another_file(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = tmp_path / "tissue.ibd"
    raw = data.read_bytes()
    data.write_bytes(raw[3::-1] + raw[5:3:-1] + raw[7:5:-1] + raw[8:])
    assert read(path).note is None  # as .NET writes it
    data.write_bytes(bytes(16) + raw[16:])
    assert read(path).note == "tissue.ibd says that it belongs to another .imzML"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        (b'name="max count of pixels x" value="6"', b'name="max count of pixels x" value="0"',
         "a scan of 0 x 4 pixels is not possible"),
        (b'name="max count of pixels x" value="6"', b'name="max count of pixels x" value="6000000000"',
         "a scan of 6000000000 x 4 pixels is not possible"),
        (b'accession="IMS:1000042"', b'accession="IMS:1000999"', "a scan of None x 4 pixels is not possible"),
        (b'accession="MS:1000515" name="intensity array"', b'accession="MS:1000516" name="charge array"',
         "its header does not say of which type intensities are, or of one that OMERO does not know"),
        (b"fileDescription", b"fileInscription", "its header is damaged ('NoneType' object has no attribute 'find')"),
        (b"<mzML", b'<!DOCTYPE m [<!ENTITY a "b">]><mzML', "it has a document type declaration, which imzML does not"),
        (b"</mzML>", b"", "the file is not whole: its XML has no end"),
        (b'name="external offset" value="', b'name="external offset" value="x',
         "its last spectrum cannot be read (invalid literal for int() with base 10: 'x16')"),
        (b"spectrumList", b"spectrumLost", "the file is not whole: its XML has no spectra"),
    ],
)  # fmt: skip
def test_a_header_that_is_of_no_use(tmp_path: Path, old: bytes, new: bytes, note: str) -> None:
    found = read(changed(written(tmp_path), (old, new)))
    assert (found.images, found.note) == ((), f"{note}; no image can be read")


def test_a_spectrum_beyond_the_end(tmp_path: Path) -> None:
    path = written(tmp_path)
    length = b'name="external array length" value="'
    changed(path, (length + b'2"', length + b'9999999999999"'))
    with pytest.raises(ValueError, match="spectrum 0 lies beyond the end"):
        preview(path)


def test_a_preview_looks_at_no_gigabytes_of_xml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(imzml, "MAX_PREVIEW_BYTES", 1000)
    with pytest.raises(ValueError, match="bytes of XML are too many for a preview, which takes 1000"):
        preview(path)


def test_read_looks_at_the_header_and_the_last_spectrum_only(tmp_path: Path) -> None:
    path = written(tmp_path)
    raw = path.read_bytes()
    at = raw.index(b"</spectrum>") + len(b"</spectrum>")
    path.write_bytes(raw[:at] + b"\n" * (64 << 20) + raw[at:])
    started = time.monotonic()
    assert len(read(path).images) == 1
    assert time.monotonic() - started < 0.5


@pytest.fixture
def hostile(tmp_path: Path) -> Callable[[bytes], None]:
    path = written(tmp_path)

    def answer(raw: bytes) -> None:
        path.write_bytes(raw)
        started = time.monotonic()
        for question in (registry.read, lambda name, files: registry.picture(name, files, 0)):
            try:
                question(path.name, LocalFiles(tmp_path))
            except ReaderFailed as error:
                assert "out of memory" not in error.message
        assert time.monotonic() - started < 2

    answer.whole = path.read_bytes()  # type: ignore[attr-defined]
    return answer


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(st.integers(0, 20000), st.binary(min_size=1, max_size=8)), max_size=4),
       length=st.integers(1, 40000))  # fmt: skip
def test_damage_is_survived(hostile: Callable[[bytes], None], changes: list[tuple[int, bytes]], length: int) -> None:
    raw = bytearray(hostile.whole)  # type: ignore[attr-defined]
    for at, data in changes:
        raw[at : at + len(data)] = data
    hostile(bytes(raw))
    hostile(bytes(raw[:length]))


def test_nothing_is_imported_in_the_middle_of_a_file(tmp_path: Path) -> None:
    """A confined process may be unable to read a module any more."""
    written(tmp_path)
    program = f"""
import sys
from pathlib import Path
from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
registry.readers()
before = set(sys.modules)
files = LocalFiles(Path({str(tmp_path)!r}))
assert registry.read("tissue.imzML", files).images
registry.picture("tissue.imzML", files, 0)
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
