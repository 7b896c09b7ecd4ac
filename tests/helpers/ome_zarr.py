"""OME-Zarr directories as tests need them, written by zarr itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy
import zarr

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.formats.ome_zarr.reader import OmeZarrReader
from repofs.image import Recognised

Version = Literal[2, 3]

STACK = numpy.arange(2 * 3 * 4 * 100 * 130, dtype="u2").reshape(2, 3, 4, 100, 130)  # T, C, Z, Y, X

OME_XML = """<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Image ID="Image:0" Name="left"><AcquisitionDate>2021-05-06T07:08:09</AcquisitionDate><Pixels PhysicalSizeZ="2">
<Channel Name="GFP" EmissionWavelength="520"/></Pixels></Image><Image ID="Image:1" Name="right"><Pixels/></Image>
<StructuredAnnotations><XMLAnnotation><Value><OriginalMetadata><Key>Gain</Key><Value>3</Value></OriginalMetadata></Value>
</XMLAnnotation></StructuredAnnotations></OME>"""

AXES = {"t": {"name": "t", "type": "time", "unit": "second"}, "c": {"name": "c", "type": "channel"},
        **{name: {"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"}}  # fmt: skip


def group(path: Path, attributes: Mapping[str, Any], version: Version = 2) -> Path:
    """Write a group; what OME says is below "ome" in Zarr 3."""
    made = zarr.open_group(path, mode="a", zarr_format=version)
    made.attrs.update({"ome": dict(attributes)} if version == 3 else dict(attributes))
    return path


def image(path: Path, levels: Sequence[numpy.ndarray], order: str = "tczyx", version: Version = 2, **more: Any) -> Path:
    """Write an image with the resolutions *levels*, named 0, 1, …; *more* goes into its multiscale.

    A pixel is 0.5 µm (or s) along each axis in the first resolution, twice as much in the next.
    """
    datasets = []
    for number, data in enumerate(levels):
        array(path / str(number), data, version)
        scale = [{"type": "scale", "scale": [0.5 * 2**number] * len(order)}]
        datasets.append({"path": str(number), "coordinateTransformations": scale})
    multiscale = {"axes": [AXES[axis] for axis in order], "datasets": datasets, **more}
    return group(path, {"multiscales": [multiscale]}, version)


def array(path: Path, data: numpy.ndarray, version: Version = 2, **how: Any) -> None:
    """Write *data* in chunks of 64 x 64, one after another."""
    chunks = (*(1 for _ in data.shape[:-2]), *(min(64, size) for size in data.shape[-2:]))
    options = {"chunks": chunks, **how}
    made = zarr.create_array(path, shape=data.shape, dtype=data.dtype, zarr_format=version, overwrite=True, **options)
    made[...] = data


def pyramid(data: numpy.ndarray, count: int) -> list[numpy.ndarray]:
    """Return *data* and smaller versions of it, each of every second sample and brighter by 1."""
    return [data[..., :: 2**number, :: 2**number] + data.dtype.type(number) for number in range(count)]


def plate(path: Path, version: Version = 2) -> Path:
    """Write a plate of the wells A/1 with two fields and B/2 with one."""
    group(path, {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}], "name": "assay"}}, version)
    for well, fields in (("A/1", 2), ("B/2", 1)):
        group(path / well, {"well": {"images": [{"path": str(field)} for field in range(fields)]}}, version)
        for field in range(fields):
            image(path / well / str(field), [STACK[:1, :, :1] + field], version=version)
    return path


def read(path: Path) -> Recognised:
    """Return what the readers say of the directory at *path*."""
    return registry.read(f"{path.name}/", LocalFiles(path.parent))


def preview(path: Path, pixels: int = 256, series: int = 0) -> numpy.ndarray:
    """Return the small picture that the reader makes of one image of it."""
    return OmeZarrReader().preview(f"{path.name}/", LocalFiles(path.parent), series, pixels)
