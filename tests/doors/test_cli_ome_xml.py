"""repofs show --ome-xml: what the catalogue says, read back by the model of OME's schema."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import ome_types
import pytest
from ome_types import model

from repofs.catalog.engine import create, open_engine
from repofs.catalog.filesets import record
from repofs.catalog.objects import describe
from repofs.cli.ome_xml import ome_xml
from repofs.image import Channel, ImageInfo
from repofs.model import ObjectRef
from tests.helpers.catalogue import Import, finished, lab

CONFOCAL = ImageInfo(
    "cells \x01 <1>", 0, 512, 256, 5, 2, 3, "uint16", big_endian=True,
    physical_size_x_um=0.1, physical_size_y_um=0.2, physical_size_z_um=1.5, time_increment_s=2.5,
    acquired="2026-11-22T21:15:03", instrument="Zeiss LSM 980", objective="Plan-Apochromat 63x/1.40 Oil DIC",
    magnification=63.0, numerical_aperture=1.4,
    channels=(Channel("DAPI", "#0000FF", 405.0, 450.5), Channel("GFP", "#00FF00")),
)  # fmt: skip
PLAIN = ImageInfo("plain", 0, 7, 5, 1, 1, 1, "double-complex", acquired="some time")
COLOUR = ImageInfo("colour", 0, 7, 5, 1, 3, 1, "uint8", rgb=True)


def described(tmp_path: Path, image: ImageInfo) -> dict[str, Any]:
    """Return what the catalogue says of *image* once it is imported."""
    create(tmp_path / "catalogue.sqlite")
    engine = open_engine(tmp_path / "catalogue.sqlite")
    with engine.begin() as conn:
        ended = finished(conn, Import(lab(conn).alice, images=(image,)))
        record(conn, [ended])
        told = describe(conn, ObjectRef("Image", ended.images[0][0]))
    engine.dispose()
    return told


def written(tmp_path: Path, image: ImageInfo) -> tuple[model.OME, model.Image]:
    text = ome_xml(described(tmp_path, image))
    ome = ome_types.from_xml(text)
    assert len(ome.images) == 1
    return ome, ome.images[0]


def test_all_that_is_known_is_there(tmp_path: Path) -> None:
    ome, image = written(tmp_path, CONFOCAL)
    pixels = image.pixels
    assert (image.id, image.name) == ("Image:1", "cells \N{REPLACEMENT CHARACTER} <1>")
    assert image.acquisition_date == datetime(2026, 11, 22, 21, 15, 3)
    assert [getattr(pixels, f"size_{axis}") for axis in "xyzct"] == [512, 256, 5, 2, 3]
    assert (pixels.type.value, pixels.big_endian, pixels.interleaved) == ("uint16", True, False)
    assert (pixels.physical_size_x, pixels.physical_size_y, pixels.physical_size_z) == (0.1, 0.2, 1.5)
    assert pixels.physical_size_x_unit is model.UnitsLength.MICROMETER
    assert (pixels.time_increment, pixels.time_increment_unit) == (2.5, model.UnitsTime.SECOND)
    assert [(c.name, c.color.as_hex(), c.excitation_wavelength, c.emission_wavelength) for c in pixels.channels] == [
        ("DAPI", "#00f", 405.0, 450.5),
        ("GFP", "#0f0", None, None),
    ]  # fmt: skip
    [instrument] = ome.instruments
    assert instrument.microscope is not None
    assert instrument.microscope.model == "Zeiss LSM 980"
    [objective] = instrument.objectives
    assert (objective.model, objective.nominal_magnification, objective.lens_na) == (
        "Plan-Apochromat 63x/1.40 Oil DIC", 63.0, 1.4,
    )  # fmt: skip
    assert image.instrument_ref is not None
    assert image.objective_settings is not None
    assert (image.instrument_ref.id, image.objective_settings.id) == (instrument.id, objective.id)


def test_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    ome, image = written(tmp_path, PLAIN)
    assert (ome.instruments, image.instrument_ref, image.objective_settings, image.acquisition_date) == (
        [],
        None,
        None,
        None,
    )
    assert (image.pixels.type.value, image.pixels.channels) == ("double-complex", [])
    assert (image.pixels.physical_size_x, image.pixels.time_increment) == (None, None)


def test_a_microscope_alone_is_told_without_an_objective(tmp_path: Path) -> None:
    ome, image = written(tmp_path, ImageInfo("x", 0, 7, 5, 1, 1, 1, "bit", instrument="Titan"))
    assert ome.instruments[0].objectives == []
    assert image.objective_settings is None


def test_colour_samples_are_one_channel(tmp_path: Path) -> None:
    _, image = written(tmp_path, COLOUR)
    assert [channel.samples_per_pixel for channel in image.pixels.channels] == [image.pixels.size_c] == [3]
    assert image.pixels.interleaved


def test_an_image_of_countless_channels_is_written_at_once(tmp_path: Path) -> None:
    many = ImageInfo("hostile", 0, 7, 5, 1, 2**31 - 1, 1, "uint8", channels=(Channel("a"),) * 500)
    _, image = written(tmp_path, many)
    assert (image.pixels.size_c, len(image.pixels.channels)) == (2**31 - 1, 100)


@pytest.mark.parametrize("pixel_type", [one.value for one in model.PixelType])
def test_each_pixel_type_has_its_word(tmp_path: Path, pixel_type: str) -> None:
    _, image = written(tmp_path, ImageInfo("x", 0, 7, 5, 1, 1, 1, pixel_type))
    assert image.pixels.type.value == pixel_type
