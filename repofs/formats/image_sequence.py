"""Images whose planes lie in several TIFFs: each file is one place in a grid of Z, C and T, and may hold more of them.

Shared by the formats in which a small file, or only its name, says which TIFFs are one image.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

import numpy

from repofs.formats.reader import Files
from repofs.formats.tiff import layout as tiff_layout
from repofs.formats.tiff.reader import TiffReader
from repofs.formats.values import possible
from repofs.image import Channel, ImageInfo

MAX_FILES = 50_000  # of one fileset
MAX_NAMES = 2 << 20  # characters of all their names
MAX_OPENED = 1000  # of one fileset: of more, every n-th is looked at, and one of each image
MAX_IMAGES = 5000
MAX_SHOWN = 64  # channels of a preview

_TIFF = TiffReader()


class Place(NamedTuple):
    """Where a file stands in the grid of an image, or how large that is."""

    z: int
    c: int
    t: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """One image and its files. The planes within a file come below its place; *stacks*: they are Z, all of them."""

    name: str
    files: Mapping[Place, str]
    size: Place
    channels: tuple[Channel, ...] = ()  # of the grid
    stacks: bool = False


class _Alone:
    """`reader.Files` of *name* only: an OME-TIFF is to give its own planes, not those of the files that it names."""

    def __init__(self, name: str, files: Files) -> None:
        self._name = name
        self._files = files

    def has(self, name: str) -> bool:
        return name == self._name

    def names(self, directory: str = "") -> list[str]:
        return [] if directory else [self._name]

    def open(self, name: str) -> BinaryIO:
        if name != self._name:
            raise FileNotFoundError(name)
        return self._files.open(name)


def check_count(files: int, longest: int) -> None:
    """Raise ValueError when so many *files*, with names of up to *longest* characters, are no fileset."""
    if files > MAX_FILES or files * longest > MAX_NAMES:
        raise ValueError(
            f"names {files} files: up to {min(MAX_FILES, MAX_NAMES // max(1, longest))} can be one fileset"
        )


def there(names: Iterable[str], files: Files) -> set[str]:
    """Return those of *names* that are there, by one question a directory."""
    wanted = set(names)
    found: set[str] = set()
    for directory in sorted({posixpath.dirname(name) for name in wanted}):
        found.update(posixpath.join(directory, name) for name in files.names(directory))
    return wanted & found


def axes_within(name: str, files: Files) -> set[str]:
    """Return the axes of which the file *name* holds more than one; none when it is not there."""
    found = _TIFF.read(name, _Alone(name, files)).images if files.has(name) else ()
    sizes = {"Z": found[0].size_z, "C": found[0].size_c, "T": found[0].size_t} if found else {}
    return {axis for axis, size in sizes.items() if size > 1}


def images(sequences: list[Sequence], files: Files) -> tuple[list[ImageInfo], list[str | None]]:
    """Return an image for each of *sequences* that has a whole plane, and sentences on what is missing."""
    named = [name for sequence in sequences for name in sequence.files.values()]
    present = there(named, files)
    faults = [missing([name for name in named if name not in present], len(named))]
    if len(sequences) > MAX_IMAGES:
        faults.append(f"it has {len(sequences)} images, {MAX_IMAGES} are taken")
    found: list[ImageInfo] = []
    for series, sequence in enumerate(sequences[:MAX_IMAGES]):
        looked, more = _looked_at(sequence, present, max(1, MAX_OPENED // len(sequences)), files)
        image, fault = _image(sequence, looked, series=series)
        faults += [*more, fault]
        found += [] if image is None else [image]
    return found, faults


def missing(names: list[str], of: int) -> str | None:
    """Return a sentence on the missing *names* of so many files, or None when there are none."""
    if not names:
        return None
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} of its {of} files are missing ({some}): bring them to the same place"


def _looked_at(
    sequence: Sequence, present: set[str], most: int, files: Files
) -> tuple[dict[Place, ImageInfo], list[str | None]]:
    """Return what at most so many of the files hold that are there, of each channel if possible, and their faults."""
    looked: dict[Place, ImageInfo] = {}
    faults: list[str | None] = []
    places = [place for place, name in sequence.files.items() if name in present]
    places.sort(key=lambda place: (place.c, place.t, place.z))
    for place in places[:: -(-len(places) // most) or 1]:
        name = sequence.files[place]
        found = _TIFF.read(name, _Alone(name, files))
        if found.images:
            looked[place] = found.images[0]
        elif not _begins_as_tiff(name, files):
            faults.append(f"{name} is no TIFF, and nothing else is read in a sequence")
            continue
        if found.note or len(found.images) > 1:
            faults.append(f"{name}: {found.note or f'it holds {len(found.images)} images, the first is taken'}")
    return looked, faults


def _begins_as_tiff(name: str, files: Files) -> bool:
    with files.open(name) as file:
        return tiff_layout.is_tiff(file.read(4))


def _image(sequence: Sequence, looked: dict[Place, ImageInfo], *, series: int) -> tuple[ImageInfo | None, str | None]:
    if not looked:
        return None, f"no plane of {sequence.name} is whole"
    kind = Counter(map(_kind, looked.values())).most_common(1)[0][0]
    alike = {place: image for place, image in looked.items() if _kind(image) == kind}
    within = {place: _within(image, stacks=sequence.stacks) for place, image in alike.items()}
    inner = Place(*(max(sizes) for sizes in zip(*within.values(), strict=True)))
    first = next(iter(alike.values()))
    z, c, t = (one * other for one, other in zip(sequence.size, inner, strict=True))
    if not possible(z, c, t):
        return None, f"{sequence.name} cannot have {z} x {c} x {t} planes"
    image = replace(
        first,
        name=sequence.name,
        series=series,
        size_z=z,
        size_c=c,
        size_t=t,
        rgb=first.rgb and c == 3,
        channels=sequence.channels if inner.c == 1 else first.channels if sequence.size.c == 1 else (),
    )
    return image, _unlike(sequence, looked, alike, within, inner)


def _kind(image: ImageInfo) -> tuple[object, ...]:
    """Return what the planes of one image have in common."""
    return image.size_x, image.size_y, image.pixel_type, image.rgb


def _within(image: ImageInfo, *, stacks: bool) -> Place:
    """Return the sizes of what is in one file."""
    if not stacks:
        return Place(image.size_z, image.size_c, image.size_t)
    samples = 3 if image.rgb else 1
    return Place(image.size_z * image.size_c * image.size_t // samples, samples, 1)


def _unlike(
    sequence: Sequence,
    looked: dict[Place, ImageInfo],
    alike: dict[Place, ImageInfo],
    within: dict[Place, Place],
    inner: Place,
) -> str | None:
    """Return a sentence on files that do not fit the image, or None."""
    strange = [place for place in looked if place not in alike]
    if strange:
        image = looked[strange[0]]
        return (
            f"{sequence.files[strange[0]]} has planes of {image.size_x} x {image.size_y} {image.pixel_type},"
            f" other than {sequence.name}{_and_more(strange)}"
        )
    fewer = [place for place, sizes in within.items() if sizes != inner]
    if fewer:
        z, c, t = within[fewer[0]]
        return (
            f"{sequence.files[fewer[0]]} has {z} Z, {c} C and {t} T, the largest file of {sequence.name}"
            f" {inner.z}, {inner.c} and {inner.t}{_and_more(fewer)}"
        )
    return None


def _and_more(places: list[Place]) -> str:
    return f" (and {len(places) - 1} more files)" if len(places) > 1 else ""


def preview(sequence: Sequence, files: Files, pixels: int) -> numpy.ndarray:
    """Return the middle plane of each of the first MAX_SHOWN channels, as `Reader.preview` does; a missing one is dark.

    Raises LookupError when none of them is there.
    """
    shown: dict[int, numpy.ndarray] = {}
    for channel in range(min(sequence.size.c, MAX_SHOWN)):
        name = _middle(sequence, channel, files)
        if name is None:
            continue
        alone = _Alone(name, files)
        for image in _TIFF.read(name, alone).images[:1]:
            samples = _TIFF.preview(name, alone, image.series, pixels)
            shown[channel] = samples[len(samples) // 2][None] if sequence.stacks and not image.rgb else samples
    if not shown:
        raise LookupError(f"no plane in the middle of {sequence.name} is there")
    dark = numpy.zeros_like(max(shown.values(), key=lambda samples: samples.size))
    planes = (shown.get(channel, dark) for channel in range(min(sequence.size.c, MAX_SHOWN)))
    return numpy.concatenate([samples if samples.shape == dark.shape else dark for samples in planes])


def _middle(sequence: Sequence, channel: int, files: Files) -> str | None:
    """Return the file of *channel* that is nearest to the middle of Z and T and is there."""
    z, t = sequence.size.z // 2, sequence.size.t // 2
    places = [place for place in sequence.files if place.c == channel]
    for place in sorted(places, key=lambda place: (abs(place.t - t), abs(place.z - z)))[:16]:
        if files.has(sequence.files[place]):
            return sequence.files[place]
    return None
