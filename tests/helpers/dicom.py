"""DICOM files as pydicom writes them."""

from __future__ import annotations

import io

import numpy
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage

SERIES, INSTANCE = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"


def dataset(pixels: numpy.ndarray, *, samples: int = 1, **elements: object) -> FileDataset:
    """Return what a file of *pixels*, of shape (Y, X), (frames, Y, X) or the same with samples last, would say."""
    shape = pixels.shape[:-1] if samples > 1 else pixels.shape
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = INSTANCE
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID = SERIES
    data.Rows, data.Columns = shape[-2:]
    if len(shape) == 3:
        data.NumberOfFrames = shape[0]
    data.SamplesPerPixel = samples
    data.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = 8 * pixels.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data


def raw(data: FileDataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return the bytes of the file."""
    data.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


def written(pixels: numpy.ndarray, **elements: object) -> bytes:
    """Return the bytes of a file of *pixels*, in explicit little endian."""
    return raw(dataset(pixels, **elements))  # type: ignore[arg-type]


def slide(matrix: numpy.ndarray, tile: int, flavour: str = "VOLUME", **elements: object) -> FileDataset:
    """Return the instance of a whole slide, whose RGB *matrix* (Y, X, 3) is cut into square tiles, row by row."""
    rows, columns = matrix.shape[:2]
    padded = numpy.pad(matrix, ((0, -rows % tile), (0, -columns % tile), (0, 0)))
    down, across = padded.shape[0] // tile, padded.shape[1] // tile
    tiles = padded.reshape(down, tile, across, tile, 3).transpose(0, 2, 1, 3, 4).reshape(-1, tile, tile, 3)
    light = Dataset()
    light.OpticalPathIdentifier = "1"
    light.ObjectiveLensPower = 20
    light.ObjectiveLensNumericalAperture = 0.8
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.0005 * 512 / columns, 0.00025 * 512 / columns]
    shared.PixelMeasuresSequence = [measures]
    data = dataset(tiles, samples=3, NumberOfFrames=len(tiles))
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = VLWholeSlideMicroscopyImageStorage
    data.ImageType = ["ORIGINAL", "PRIMARY", flavour, "NONE"]
    data.TotalPixelMatrixRows, data.TotalPixelMatrixColumns = rows, columns
    data.DimensionOrganizationType = "TILED_FULL"
    data.OpticalPathSequence = [light]
    data.SharedFunctionalGroupsSequence = [shared]
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    return data
