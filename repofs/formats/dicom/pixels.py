"""The samples of one frame of a DICOM file, every n-th of them: read in place where they are not compressed, else
through pydicom's decoders."""

from __future__ import annotations

import numpy
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options

from repofs.formats import sampling
from repofs.formats.dicom import codecs as dicom_codecs
from repofs.formats.dicom.header import BAD_VALUE, Header, text
from repofs.formats.dicom.instance import Instance
from repofs.formats.outcome import Fault
from repofs.formats.pixel_types import dtype_of
from repofs.formats.raw_array import RawArray

MAX_DECODED_BYTES = 768 << 20

dicom_codecs.install()


def frame(header: Header, instance: Instance, index: int, pixels: int) -> numpy.ndarray:
    """Return every n-th sample of the frame *index*, of shape (samples, Y, X), about *pixels* on the longer side.

    Raises Fault for one that cannot be decompressed, EOFError for one that is not whole.
    """
    photometric = text(header.data, "PhotometricInterpretation") or ""
    swapped = instance.big_endian and instance.pixel_type in ("int8", "uint8")  # bytes are written as words
    if (
        header.transfer_syntax.is_encapsulated
        or photometric.startswith("YBR")
        or swapped
        or instance.pixel_type == "bit"
    ):
        every = sampling.step((instance.columns, instance.rows), pixels)
        return _decoded(header, instance, index)[:, ::every, ::every]
    return _in_place(header, instance, index, pixels)


def _in_place(header: Header, instance: Instance, index: int, pixels: int) -> numpy.ndarray:
    dtype = dtype_of(instance.pixel_type).newbyteorder(">" if instance.big_endian else "<")
    planar = text(header.data, "PlanarConfiguration") == "1"
    assert header.pixels is not None
    samples = {"C": instance.samples}
    plane = {"X": instance.columns, "Y": instance.rows}
    sizes = {**plane, **samples} if planar else {**samples, **plane}
    return RawArray(header.pixels.offset, dtype, sizes).following(index).picture(header.file, pixels)


def _decoded(header: Header, instance: Instance, index: int) -> numpy.ndarray:
    if instance.rows * instance.columns * instance.samples * 4 > MAX_DECODED_BYTES:
        raise Fault("a frame is too large to be decompressed for a picture")
    assert header.pixels is not None
    header.file.seek(header.pixels.offset)
    count = instance.declared_frames if header.transfer_syntax.is_encapsulated else instance.frames
    options = as_pixel_options(header.data, transfer_syntax_uid=header.transfer_syntax)
    options |= {"number_of_frames": count, "pixel_keyword": header.pixels.keyword, "pixel_vr": "OB"}
    try:
        decoder = get_decoder(header.transfer_syntax)
        samples, _ = decoder.as_array(header.file, index=index, validate=False, **options)
    except (*BAD_VALUE, RuntimeError, OSError) as error:
        name = header.transfer_syntax.name
        what = " ".join(str(error).split())[:200]
        raise Fault(f"frame {index + 1} ({name}) cannot be decompressed: {what}") from error
    return samples.transpose(2, 0, 1) if samples.ndim == 3 else samples[None]
