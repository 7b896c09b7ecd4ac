"""The OIF and OIB reader on whole filesets, ones with gaps, and damaged ones; made by `tests.helpers.olympus`."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.olympus.reader import OlympusReader
from repofs.formats.reader import Files
from repofs.image import Channel, Recognised
from tests.helpers import olympus
from tests.helpers.formats import OneFile, recognised

SAMPLES = numpy.random.default_rng(4).integers(0, 4000, (2, 3, 2, 20, 30), "u2")
WHOLE = olympus.oib(SAMPLES)


def check(found: Recognised, name: str) -> None:
    assert found.note is None
    (image,) = found.images
    assert (image.name, image.pixel_type) == (name, "uint16")
    assert (image.size_x, image.size_y, image.size_z, image.size_c, image.size_t) == (30, 20, 3, 2, 2)
    assert (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um) == (0.2, None, 0.5)
    assert (image.time_increment_s, image.acquired) == (3.0, "2008-11-04T10:20:30")
    assert image.channels == (Channel("Alexa", None, 488.0, 520.0), Channel("CHS2"))
    assert (image.objective, image.magnification, image.numerical_aperture) == ("UPLSAPO 60x", 60.0, 1.35)
    assert image.instrument == "FLUOVIEW FV1000"
    assert found.original_metadata["Version Info.SystemName"] == "FLUOVIEW FV1000"


def check_preview(name: str, files: Files) -> None:
    middle = SAMPLES[:, 1, 1]
    assert numpy.array_equal(OlympusReader().preview(name, files, 0, 1000), middle)
    assert numpy.array_equal(OlympusReader().preview(name, files, 0, 10), middle[:, ::3, ::3])


def test_oib() -> None:
    files = OneFile("scan.oib", WHOLE)
    check(registry.read("scan.oib", files), "scan.oib")
    check_preview("scan.oib", files)
    assert OlympusReader().members("scan.oib", files) is None


def test_oif_with_its_folder(tmp_path: Path) -> None:
    olympus.oif(tmp_path, SAMPLES)
    files = LocalFiles(tmp_path)
    check(registry.read("scan.oif", files), "scan.oif")
    check_preview("scan.oif", files)


def test_an_oif_knows_what_will_be_in_its_folder(tmp_path: Path) -> None:
    olympus.oif(tmp_path, SAMPLES)
    whole = OlympusReader().members("scan.oif", LocalFiles(tmp_path))
    assert whole is not None
    assert whole.main == "scan.oif"
    assert {f"scan.oif.files/{name}" for name in olympus.parts(SAMPLES)} == set(whole.names) - {"scan.oif"}
    alone = OlympusReader().members("scan.oif", OneFile("scan.oif", (tmp_path / "scan.oif").read_bytes()))
    assert alone is not None
    assert set(whole.names) - set(alone.names) == {"scan.oif.files/s_Thumb_C001.tif"}  # named nowhere


def test_names_that_lead_out_of_the_folder_are_taken_inside_it() -> None:
    raw = olympus.main_settings(SAMPLES.shape).replace(
        *("scan.oif.files".encode("utf-16-le"), "..\\..\\x".encode("utf-16-le"))
    )
    members = OlympusReader().members("scan.oif", OneFile("scan.oif", raw))
    assert members is not None
    assert all(name == "scan.oif" or name.count("/") == 1 for name in members.names)
    assert not any(".." in name for name in members.names)


def test_missing_planes_are_counted(tmp_path: Path) -> None:
    olympus.oif(tmp_path, SAMPLES)
    (tmp_path / "scan.oif.files" / "s_C001Z002T002.tif").unlink()
    found = registry.read("scan.oif", LocalFiles(tmp_path))
    assert found.note == "1 of its 12 planes are not there"
    assert found.images[0].size_z == 3
    seen = OlympusReader().preview("scan.oif", LocalFiles(tmp_path), 0, 1000)
    assert numpy.array_equal(seen[1], SAMPLES[1, 1, 1])
    assert any(numpy.array_equal(seen[0], SAMPLES[0, z, t]) for z, t in ((0, 1), (2, 1), (1, 0)))


def test_an_oif_without_its_folder_is_no_image() -> None:
    found = recognised(olympus.main_settings(SAMPLES.shape), "scan.oif")
    assert found.note == "no plane of it is whole; no image can be read"
    assert found.format == "OIF"


def test_empty_planes_are_no_image(tmp_path: Path) -> None:
    olympus.oif(tmp_path, SAMPLES)
    for path in (tmp_path / "scan.oif.files").glob("*.tif"):
        path.write_bytes(path.read_bytes()[:100])
    assert registry.read("scan.oif", LocalFiles(tmp_path)).images == ()


def test_a_plane_of_another_size_is_not_shown(tmp_path: Path) -> None:
    olympus.oif(tmp_path, SAMPLES)
    huge = olympus.tiff(numpy.zeros((40, 60), "u2"))
    (tmp_path / "scan.oif.files" / "s_C001Z002T002.tif").write_bytes(huge)
    with pytest.raises(ReaderFailed, match="a plane has 60 x 40 pixels, not 30 x 20"):
        registry.picture("scan.oif", LocalFiles(tmp_path), 0)


@pytest.mark.parametrize("length", [2**power for power in range(4, 17)] + [len(WHOLE) - 1])
def test_truncated(length: int) -> None:
    """The tables of sectors of a compound document can be anywhere; here they are at the end."""
    found = recognised(WHOLE[:length], "scan.oib")
    assert found.images == ()
    assert "no image can be read" in (found.note or "")


def test_a_compound_document_that_is_no_oib() -> None:
    found = recognised(olympus.compound({"Word": b"x"}), "scan.oib")
    assert found.note == "it is a compound document without OibInfo.txt, which is no OIB; no image can be read"


def test_circular_chains_end() -> None:
    """Every sector is followed by itself."""
    table = len(WHOLE) - 4 * 128 * int.from_bytes(WHOLE[44:48], "little")
    circular = b"".join(number.to_bytes(4, "little") for number in range((len(WHOLE) - table) // 4))
    assert recognised(WHOLE[:table] + circular, "scan.oib").images == ()


def test_absurd_sizes() -> None:
    raw = olympus.main_settings((2, 3, 2, 20, 2**31))
    assert recognised(raw, "scan.oif").note == "its settings have impossible sizes; no image can be read"


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=40))
@settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_mutations_give_an_answer_or_reader_failed(changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(WHOLE)
    for at, new in changes:
        mutated[at : at + len(new)] = new
    files = OneFile("scan.oib", bytes(mutated))
    try:
        found = registry.read("scan.oib", files)
        for image in found.images:
            registry.picture("scan.oib", files, image.series)
    except ReaderFailed as failed:
        assert "broke" in failed.message
    else:
        assert found.images or found.note
