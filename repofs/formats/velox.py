"""EMD as Velox writes it, the software of Thermo Fisher's electron microscopes: HDF5, through h5py and RosettaSciIO,
the extra ``em``.

Each group of /Data/Image is an image: *Data* of shape (Y, X, T), *Metadata* with one JSON document a frame.
RosettaSciIO tells how an image is called; its reader would read all samples, so that they are left to h5py.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import h5py
import numpy
from rsciio.emd._emd_velox import FeiEMDReader

from repofs.formats import sampling
from repofs.formats.original_metadata import OriginalMetadata, text
from repofs.formats.outcome import label, recognised
from repofs.formats.pixel_types import pixel_type
from repofs.formats.reader import Files
from repofs.formats.units import micrometres
from repofs.formats.values import at, positive, possible, words
from repofs.image import ImageInfo, Members, Recognised

MAX_METADATA_BYTES = 16 << 20  # of one JSON document
MAX_CHUNK_BYTES = 1 << 29  # that a preview unpacks at once
MAX_IMAGES = 10_000

_COMPLEX = ("realFloat", "realFloatHalfEven", "realFloatHalfOdd")  # first fields of what are complex numbers
# What damage, or a document that lacks something, makes h5py, json and RosettaSciIO raise, besides OSError.
_BROKEN = (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, RecursionError)


class VeloxReader:
    """Reads EMD of Velox."""

    name = "Velox EMD"
    suffixes = (".emd",)
    library = "rosettasciio"

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* is of HDF5, by a name that says EMD."""
        return head.startswith(b"\x89HDF\r\n\x1a\n") and name.lower().endswith(self.suffixes)

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the images; spectra are none."""
        with files.open(name) as file:
            try:
                with h5py.File(file, "r") as hdf5:
                    return self._read(hdf5, name)
            except OSError as error:
                if error.errno is not None:
                    raise  # the file could not be read; those of h5py have no number
                return recognised(self.name, (), [f"the file is damaged or not whole ({error})"])

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return every n-th sample of the middle frame; raises ValueError when too much must be unpacked for it."""
        with files.open(name) as file, h5py.File(file, "r") as hdf5:
            pictures = [data for _, data in _datasets(hdf5) if _fault(data) is None]
            if not 0 <= series < len(pictures):
                raise LookupError(f"it has no image {series}")
            return _small(pictures[series], pixels)

    def _read(self, hdf5: h5py.File, name: str) -> Recognised:
        metadata = OriginalMetadata()
        if not isinstance(hdf5.get("Data/Image"), h5py.Group):
            return recognised(self.name, (), ["it has no images as Velox writes them"])
        labels = _Labels(hdf5)
        images: list[ImageInfo] = []
        faults: list[str] = []
        found = list(_datasets(hdf5))
        for number, (key, data) in enumerate(found):
            fault = _fault(data)
            if fault:
                faults.append(f"image {number}: {fault}")
                continue
            document = _document(data.parent)
            metadata.add(f"Image {number}" if number else "", document)
            own = labels.of(key, document) or label(name, number, len(found))
            images.append(_image(data, document, own, len(images)))
        return recognised(self.name, images, faults, metadata)


class _Labels(FeiEMDReader):  # type: ignore[misc]
    """RosettaSciIO's knowledge of what an image is called; reads no samples."""

    def __init__(self, hdf5: h5py.File) -> None:
        super().__init__()
        try:
            self.read_file(hdf5)
        except _BROKEN:
            self.original_metadata: dict[str, Any] = {}  # then the images' own documents must do

    def _read_data(self, select_type: str | None) -> None:
        """What `read_file` calls last."""

    def of(self, key: str, document: dict[str, Any]) -> str | None:
        """Return the label or the detector of the image *key*, None when nothing names it."""
        if key in self._map_label_dict:
            return text(self._map_label_dict[key], 1024)
        try:
            return text(self._get_detector_name(key), 1024)
        except _BROKEN:
            number = at(document, "BinaryResult", "DetectorIndex")
            name = at(document, "Detectors", f"Detector-{number}", "DetectorName")
            return text(name, 1024) if name else None


def _datasets(hdf5: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    """Return the samples of each image, in the order of the file, by the key of its group."""
    groups = list(hdf5["Data/Image"].items())[:MAX_IMAGES]
    found = ((key, group.get("Data")) for key, group in groups if isinstance(group, h5py.Group))
    return [(key, data) for key, data in found if isinstance(data, h5py.Dataset)]


def _fault(data: h5py.Dataset) -> str | None:
    """Return why *data* are no image, None when they are."""
    if data.ndim != 3 or not possible(*data.shape):
        return f"a shape of {data.shape} is not possible"
    if _pixel_type(data.dtype) is None:
        return f"pixels of type {data.dtype} are not known to OMERO"
    if data.id.get_storage_size() == 0:
        return "it has no pixels"
    return None


def _pixel_type(dtype: numpy.dtype[Any]) -> str | None:
    if dtype.names:
        return "complex" if dtype.names[0] in _COMPLEX else None
    return pixel_type(dtype)


def _document(group: h5py.Group) -> dict[str, Any]:
    """Return the JSON of the first frame, empty where it is damaged."""
    stored = group.get("Metadata")
    if not isinstance(stored, h5py.Dataset) or stored.ndim != 2 or stored.shape[0] > MAX_METADATA_BYTES:
        return {}
    try:
        document = json.loads(stored[:, 0].tobytes().rstrip(b"\0"))
    except _BROKEN:
        return {}
    return document if isinstance(document, dict) else {}


def _image(data: h5py.Dataset, document: dict[str, Any], name: str, series: int) -> ImageInfo:
    maker, model = (at(document, "Instrument", key) for key in ("Manufacturer", "InstrumentModel"))
    return ImageInfo(
        name=name,
        series=series,
        size_x=data.shape[1],
        size_y=data.shape[0],
        size_z=1,
        size_c=1,
        size_t=data.shape[2],
        pixel_type=_pixel_type(data.dtype) or "",
        big_endian=data.dtype.byteorder == ">",
        physical_size_x_um=_pixel_um(document, "width", "PixelUnitX"),
        physical_size_y_um=_pixel_um(document, "height", "PixelUnitY"),
        time_increment_s=positive(at(document, "Scan", "FrameTime")) if data.shape[2] > 1 else None,
        acquired=_acquired(document),
        instrument=words(" ".join(str(part) for part in (maker, model) if part)),
    )


def _pixel_um(document: dict[str, Any], side: str, unit: str) -> float | None:
    """Return the size of a pixel; that of a diffraction pattern, in 1/m, is none."""
    return micrometres(at(document, "BinaryResult", "PixelSize", side), at(document, "BinaryResult", unit))


def _acquired(document: dict[str, Any]) -> str | None:
    """Return the start, which is kept in seconds since the epoch, in UTC."""
    seconds = positive(at(document, "Acquisition", "AcquisitionStartDatetime", "DateTime"))
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat() if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _small(data: h5py.Dataset, pixels: int) -> numpy.ndarray:
    unpacked = math.prod(data.chunks or ()) * data.dtype.itemsize
    if unpacked > MAX_CHUNK_BYTES:
        raise ValueError(f"a preview unpacks at most {MAX_CHUNK_BYTES} bytes at once, and would have to {unpacked}")
    step = sampling.step(data.shape[:2], pixels)
    samples = numpy.asarray(data[::step, ::step, data.shape[2] // 2])
    if samples.dtype.names:
        real, imaginary = (samples[part] for part in samples.dtype.names)
        samples = real + 1j * imaginary
    return samples[None]
