"""An image as OME-XML: what the catalogue says of it, in the words of the schema of June 2016, without pixels."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from ome_types import model, to_xml

from repofs import __version__

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Facts = dict[str, Any]


def ome_xml(image: Facts) -> str:
    """Return the OME-XML of *image*, as `objects.describe` has it. Channels are those that the catalogue lists."""
    described = model.Image(
        id=image["object"],
        name=_text(image["name"]),
        acquisition_date=_date(image.get("acquired")),
        pixels=_pixels(image),
    )
    instrument = _instrument(image)
    if instrument is not None:
        described.instrument_ref = model.InstrumentRef(id=instrument.id)
        if instrument.objectives:
            described.objective_settings = model.ObjectiveSettings(id=instrument.objectives[0].id)
    instruments = [] if instrument is None else [instrument]
    return str(to_xml(model.OME(images=[described], instruments=instruments, creator=f"repofs {__version__}")))


def _pixels(image: Facts) -> model.Pixels:
    sizes = {f"size_{axis}": image[f"size_{axis}"] for axis in "xyzct"}
    physical = {f"physical_size_{axis}": image.get(f"physical_size_{axis}_um") for axis in "xyz"}  # the unit is µm
    return model.Pixels(
        id=image["object"].replace("Image", "Pixels"),
        dimension_order=model.Pixels_DimensionOrder.XYZCT,
        type=model.PixelType(image["pixel_type"]),
        big_endian=image["big_endian"],
        interleaved=image["rgb"],
        time_increment=image.get("time_increment_s"),
        channels=_channels(image),
        metadata_only=model.MetadataOnly(),
        **sizes,
        **physical,
    )


def _channels(image: Facts) -> list[model.Channel]:
    """Return the channels; colour samples are one channel for OME."""
    known: list[Facts] = image["channels"]
    if image["rgb"]:
        known = known[:1] or [{}]
    return [
        model.Channel(
            id=f"{image['object'].replace('Image', 'Channel')}:{position}",
            name=_text(channel.get("name")),
            samples_per_pixel=image["size_c"] if image["rgb"] else 1,
            excitation_wavelength=channel.get("excitation_nm"),  # the unit is nm
            emission_wavelength=channel.get("emission_nm"),
            **({"color": model.Color(channel["color"])} if "color" in channel else {}),
        )
        for position, channel in enumerate(known)
    ]


def _instrument(image: Facts) -> model.Instrument | None:
    number = image["object"].partition(":")[2]
    objective = {
        "model": _text(image.get("objective")),
        "nominal_magnification": image.get("magnification"),
        "lens_na": image.get("numerical_aperture"),
    }
    has_objective = any(value is not None for value in objective.values())
    if not has_objective and "instrument" not in image:
        return None
    return model.Instrument(
        id=f"Instrument:{number}",
        microscope=model.Microscope(model=_text(image["instrument"])) if "instrument" in image else None,
        objectives=[model.Objective(id=f"Objective:{number}", **objective)] if has_objective else [],
    )


def _text(text: str | None) -> str | None:
    """Return *text* with a mark in the place of what cannot be written in XML."""
    return None if text is None else _NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _date(acquired: str | None) -> datetime | None:
    """Return the time; None for what a file says that is no whole time."""
    try:
        return datetime.fromisoformat(acquired or "")
    except ValueError:
        return None
