"""What readers find in files: images and their channels, which files belong together, small pictures.

Plain values that travel between floors, as those of `model`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Channel:
    name: str | None = None
    color: str | None = None  # "#RRGGBB"
    excitation_nm: float | None = None
    emission_nm: float | None = None


@dataclass(frozen=True, slots=True)
class Appearance:
    """How an image is to be shown."""

    rgb: bool = False
    colors: tuple[str | None, ...] = ()  # of its channels


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image of a fileset. Sizes are in pixels, planes and time points; None means that the file does not say."""

    name: str
    series: int
    size_x: int
    size_y: int
    size_z: int
    size_c: int  # colour samples counted as channels
    size_t: int
    pixel_type: str  # OMERO's names: int8 uint8 int16 uint16 int32 uint32 float double complex double-complex bit
    rgb: bool = False
    big_endian: bool = False
    physical_size_x_um: float | None = None
    physical_size_y_um: float | None = None
    physical_size_z_um: float | None = None
    time_increment_s: float | None = None
    acquired: str | None = None  # ISO 8601 as the file says, no time zone added
    channels: tuple[Channel, ...] = ()
    instrument: str | None = None  # the microscope or scanner, by maker and model
    objective: str | None = None  # as its maker calls it: "Plan-Apochromat 63x/1.40 Oil DIC"
    magnification: float | None = None  # of the objective, nominal
    numerical_aperture: float | None = None

    @property
    def appearance(self) -> Appearance:
        return Appearance(self.rgb, tuple(channel.color for channel in self.channels))


@dataclass(frozen=True, slots=True)
class Members:
    """Which files form one fileset, as one of them says. Names are below the directory that this one lies in."""

    main: str  # the file that is read for all of them
    names: tuple[str, ...]  # all of them, *main* too, whether they are there or not
    key: str | None = None  # the files beside it that say the same are of it too: nobody says how many there are
    certain: bool = True  # False: only the name says so; it stands alone if the others do not come


ALONE = Members("", ())  # a file that is a fileset by itself


@dataclass(frozen=True, slots=True)
class Picture:
    """A small picture of one image, and what was measured in the samples that it was made from."""

    png: bytes
    ranges: tuple[tuple[float, float], ...] = ()  # the least and the largest value of each channel


@dataclass(frozen=True, slots=True)
class Recognised:
    """What the readers say of a fileset: its format, images, raw metadata, or why there are none."""

    format: str | None = None  # "TIFF", "OME-TIFF", …
    images: tuple[ImageInfo, ...] = ()
    original_metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None  # one sentence when there is no image or the file is not whole
