"""PNG, JPEG, JPEG 2000, GIF and BMP, through Pillow.

Each reader uses one plugin: `Image.open` would try them all. Whether the picture is all there is asked of the file
itself (`layout`). A palette counts as the three channels that its colours have, as in OMERO. The resolution of
a print is no pixel size.
"""

from __future__ import annotations

import re
import struct
from typing import Any, BinaryIO, ClassVar

import numpy
from imagecodecs import jpeg2k_decode, png_decode
from PIL import ExifTags, GifImagePlugin, Image, ImageFile, PngImagePlugin, TiffImagePlugin  # noqa: F401 (EXIF)
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile

from repofs.formats import sampling
from repofs.formats.original_metadata import OriginalMetadata
from repofs.formats.outcome import Fault, recognised
from repofs.formats.pictures import layout as picture_layout
from repofs.formats.reader import Files
from repofs.formats.values import possible
from repofs.image import ImageInfo, Members, Recognised

MOST_PIXELS = 1 << 27  # that a preview decodes, in all frames it must go through: half a gigabyte of RGB

Image.MAX_IMAGE_PIXELS = None  # `MOST_PIXELS` takes its place, which does not count where only a header is looked at

# Number of samples a pixel, and their type, of Pillow's modes.
_MODES = {
    "1": (1, "bit"), "L": (1, "uint8"), "P": (3, "uint8"), "LA": (2, "uint8"), "RGB": (3, "uint8"),
    "RGBA": (4, "uint8"), "CMYK": (4, "uint8"), "I;16": (1, "uint16"),
}  # fmt: skip
_PNG_SAMPLES = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes
_EXIF_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
# What Pillow raises on a damaged header; an OSError without a number is its own.
_BROKEN = (SyntaxError, ValueError, OSError, EOFError, KeyError, IndexError, struct.error)


class PictureReader:
    """What is the same for all pictures: one plane, read by one of Pillow's plugins."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    library = "pillow"
    magic: ClassVar[tuple[bytes, ...]]
    plugin: ClassVar[type[ImageFile.ImageFile]]

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins with the magic number."""
        return head.startswith(self.magic)

    def members(self, name: str, files: Files) -> Members | None:
        return None

    def read(self, name: str, files: Files) -> Recognised:
        """Return the one image of the file if it is whole; nothing is decoded."""
        with files.open(name) as file:
            try:
                return self._read(file, name)
            except Fault as fault:
                return recognised(self.name, (), [str(fault)])

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        """Return a small version; raises ValueError for a picture that is too large to decode."""
        if series != 0:
            raise LookupError(f"it has no image {series}")
        with files.open(name) as file:
            return self._small(self._open(file), file, pixels)

    def _read(self, file: BinaryIO, name: str) -> Recognised:
        picture = self._open(file)
        if not possible(*picture.size):
            raise Fault(f"a size of {picture.width} x {picture.height} pixels is not possible")
        metadata, acquired = _metadata(picture)
        frames, note = self._frames(picture, file)
        samples, pixel_type = self._samples(picture, file)
        x, y = picture.size
        image = ImageInfo(name, 0, x, y, 1, samples, frames, pixel_type, rgb=samples > 1, acquired=acquired)
        return recognised(self.name, [image], [note], metadata)

    def _open(self, file: BinaryIO) -> ImageFile.ImageFile:
        """Return the picture, undecoded. Raises Fault when its header is of no use."""
        file.seek(0)
        try:
            return self.plugin(file)
        except _BROKEN as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the file could not be read
            raise Fault(f"its header is damaged or of a kind that is not known ({error})") from error

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        """Return how many frames are there, at least one, and what is missing. Raises Fault when none is."""
        raise NotImplementedError

    def _samples(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str]:
        """Return the number of samples a pixel and their type."""
        if picture.mode not in _MODES:
            raise Fault(f"pixels of the kind {picture.mode} are not known to OMERO")
        return _MODES[picture.mode]

    def _small(self, picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> numpy.ndarray:
        """Return (C, Y, X) of about *pixels* on the longer side."""
        _allow(picture.width * picture.height)
        return _sampled(picture, pixels)


class PngReader(PictureReader):
    """Reads PNG; of an animated one its default picture."""

    name = "PNG"
    suffixes = (".png",)
    magic = (b"\x89PNG\r\n\x1a\n",)
    plugin = PngImagePlugin.PngImageFile

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        picture_layout.png_ends(file)
        animated = getattr(picture, "n_frames", 1) > 1
        return 1, "it is animated: only its first picture is read" if animated else None

    def _samples(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str]:
        file.seek(24)  # Pillow's mode does not tell 16 bits of a colour from 8
        depth, kind = file.read(2)
        return _PNG_SAMPLES[kind], "uint16" if depth == 16 else "bit" if picture.mode == "1" else "uint8"

    def _small(self, picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> numpy.ndarray:
        samples, pixel_type = self._samples(picture, file)
        if pixel_type != "uint16" or samples == 1:
            return super()._small(picture, file, pixels)
        _allow(2 * picture.width * picture.height)
        file.seek(0)
        return _strided(png_decode(file.read()), pixels)


class JpegReader(PictureReader):
    """Reads JPEG."""

    name = "JPEG"
    suffixes = (".jpg", ".jpeg", ".jpe", ".jfif")
    magic = (b"\xff\xd8\xff",)
    plugin = JpegImageFile

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        picture_layout.jpeg_ends(file)
        return 1, None

    def _small(self, picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> numpy.ndarray:
        _allow(picture.width * picture.height // 8)  # all of it is unpacked, however small it is drawn
        picture.draft(picture.mode, (pixels, pixels))
        return super()._small(picture, file, pixels)


class Jpeg2000Reader(PictureReader):
    """Reads JPEG 2000: bare codestreams, and JP2."""

    name = "JPEG 2000"
    suffixes = (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")
    magic = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \x0d\x0a\x87\x0a")
    plugin = Jpeg2KImageFile

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        return 1, None  # `_samples` looks at the whole codestream

    def _samples(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str]:
        stream = picture_layout.codestream(file)
        depth, signed = max(abs(bits) for bits in stream.depths), min(stream.depths) < 0
        if depth > 32:
            raise Fault(f"samples of {depth} bits are not known to OMERO")
        width = 8 if depth <= 8 else 16 if depth <= 16 else 32
        return 3 if picture.mode == "P" else len(stream.depths), f"{'' if signed else 'u'}int{width}"

    def _small(self, picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> numpy.ndarray:
        stream = picture_layout.codestream(file)
        samples, pixel_type = self._samples(picture, file)
        if pixel_type != "uint8":
            _allow(samples * picture.width * picture.height)
            file.seek(0)
            return _strided(jpeg2k_decode(file.read(), planar=False), pixels)
        halvings = (
            min(stream.levels, (max(picture.size) // pixels).bit_length() - 1) if max(picture.size) > pixels else 0
        )
        size = stream.reduced(halvings)
        _allow(max(size[0] * size[1], picture.width * picture.height >> 6))
        # Instead of `picture.reduce`, which rounds sizes to the nearest: OpenJPEG rounds them up, and does not fit.
        tile = picture.tile[0]
        codec, _, layers, descriptor, length = _arguments(tile)
        picture.tile = [tile._replace(extents=(0, 0, *size), args=(codec, halvings, layers, descriptor, length))]
        picture._size = size
        return _sampled(picture, pixels)


class GifReader(PictureReader):
    """Reads GIF; the frames of an animated one are time points."""

    name = "GIF"
    suffixes = (".gif",)
    magic = (b"GIF87a", b"GIF89a")
    plugin = GifImagePlugin.GifImageFile

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        frames = picture_layout.gif_frames(file)
        if not frames.number:
            raise Fault(frames.fault or "the file has no frame")
        return frames.number, frames.fault

    def _samples(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str]:
        return _MODES["P"]  # Pillow takes a palette of greys for no palette

    def _small(self, picture: ImageFile.ImageFile, file: BinaryIO, pixels: int) -> numpy.ndarray:
        frames = picture_layout.gif_frames(file)
        middle = frames.number // 2
        _allow(max(picture.width * picture.height, frames.largest) * (middle + 1))  # each changes the one before it
        picture.seek(middle)
        shown = _sampled(picture, pixels)
        return shown if len(shown) == 3 else numpy.repeat(shown, 3, axis=0)


class BmpReader(PictureReader):
    """Reads BMP."""

    name = "BMP"
    suffixes = (".bmp", ".dib")
    magic = (b"BM",)
    plugin = BmpImageFile

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        """Return whether *head* begins as BMP does and has a header of a known size: two letters are too few."""
        return head.startswith(self.magic) and int.from_bytes(head[14:18], "little") in _BMP_HEADERS

    def _frames(self, picture: ImageFile.ImageFile, file: BinaryIO) -> tuple[int, str | None]:
        tile = picture.tile[0]
        if tile.codec_name == "raw":
            needed = tile.offset + picture.height * _arguments(tile)[1]
        else:  # run lengths
            file.seek(34)
            needed = tile.offset + int.from_bytes(file.read(4), "little")
        size = file.seek(0, 2)
        if size < needed:
            raise Fault(f"the file is not whole: it has {size} bytes of {needed}")
        return 1, None


def _metadata(picture: ImageFile.ImageFile) -> tuple[OriginalMetadata, str | None]:
    """Return EXIF and the texts of the header, and when the picture was taken."""
    metadata = OriginalMetadata()
    for key, value in picture.info.items():
        if isinstance(key, str) and isinstance(value, (str, int, float, tuple)):
            metadata.add(key, value)
    exif = Image.Image.getexif(picture)  # that of PNG would decode the picture to look behind it
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for tag, value in (*exif.items(), *details.items()):
        if not isinstance(value, bytes) and tag in ExifTags.TAGS:
            metadata.add(f"EXIF.{ExifTags.TAGS[tag]}", value)
    taken = _EXIF_TIME.match(str(details.get(ExifTags.Base.DateTimeOriginal, "")))
    return metadata, "{}-{}-{}T{}".format(*taken.groups()) if taken else None


def _arguments(tile: ImageFile._Tile) -> tuple[Any, ...]:
    """Return what Pillow would hand to the decoder of *tile*."""
    return tile.args if isinstance(tile.args, tuple) else (tile.args,)


def _allow(pixels: int) -> None:
    if pixels > MOST_PIXELS:
        raise ValueError(f"{pixels} pixels are too many for a preview, which takes {MOST_PIXELS}")


def _sampled(picture: Image.Image, pixels: int) -> numpy.ndarray:
    """Return every n-th pixel of *picture* as (C, Y, X): grey without its alpha, or RGB."""
    step = sampling.step(picture.size, pixels)
    width, height = (max(1, size // step) for size in picture.size)
    box = (0, 0, min(picture.width, width * step), min(picture.height, height * step))
    picture.load()
    small = picture.resize((width, height), Image.Resampling.NEAREST, box)
    if small.mode in ("P", "PA", "CMYK", "RGBA"):
        small = small.convert("RGB")
    elif small.mode == "LA":
        small = small.getchannel("L")
    samples = numpy.asarray(small, "u1" if small.mode == "1" else None)
    return samples[None] if samples.ndim == 2 else samples.transpose(2, 0, 1)


def _strided(samples: numpy.ndarray, pixels: int) -> numpy.ndarray:
    """Return every n-th pixel of *samples* (Y, X) or (Y, X, C), as (C, Y, X): grey without its alpha, or RGB."""
    step = sampling.step(samples.shape[:2], pixels)
    small = samples[step // 2 :: step, step // 2 :: step]
    if small.ndim == 2:
        return small[None].copy()
    return small[..., : 3 if small.shape[2] > 2 else 1].transpose(2, 0, 1).copy()
