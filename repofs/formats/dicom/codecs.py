"""A plug-in of pydicom that decompresses through imagecodecs what pydicom's own can not: lossless JPEG, JPEG-LS,
12-bit JPEG and high-throughput JPEG 2000 (DICOM PS3.5 A.4)."""

from __future__ import annotations

import imagecodecs
import numpy
from PIL import Jpeg2KImagePlugin, JpegImagePlugin, MpoImagePlugin  # noqa: F401 - pydicom would load them late
from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner, get_decoder

_CODECS = {
    uid.JPEGExtended12Bit: imagecodecs.jpeg_decode,
    uid.JPEGLossless: imagecodecs.jpeg_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpeg_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLossless: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    uid.HTJ2K: imagecodecs.jpeg2k_decode,
}

DECODER_DEPENDENCIES = {syntax: ("imagecodecs",) for syntax in _CODECS}  # pydicom asks for this name


def is_available(syntax: str) -> bool:
    """Return whether this plug-in decompresses the transfer syntax."""
    return syntax in _CODECS


def decode_frame(src: bytes, runner: DecodeRunner) -> bytearray:
    """Return the samples of one frame, in the byte order and width that *runner* is told of."""
    frame = numpy.asarray(_CODECS[uid.UID(runner.transfer_syntax)](src))
    runner.set_option("bits_allocated", frame.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
        if runner.photometric_interpretation in ("YBR_RCT", "YBR_ICT"):
            runner.set_option("photometric_interpretation", "RGB")  # JPEG 2000 undoes its own transform
    return bytearray(frame.astype(frame.dtype.newbyteorder("<")).tobytes())


def install() -> None:
    """Let pydicom use this plug-in, and load the codecs: a confined process may be unable to."""
    for name in ("jpeg8", "ljpeg"):  # what jpeg_decode chooses from
        getattr(imagecodecs, f"{name}_decode")
    for syntax in _CODECS:
        decoder = get_decoder(syntax)
        if "imagecodecs" not in decoder.available_plugins:
            decoder.add_plugin("imagecodecs", (__name__, "decode_frame"))
