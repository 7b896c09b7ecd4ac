"""Small CZI files, written by the published layout of their segments: header, subblocks, metadata, directory."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

KINDS = {("u1", 1): 0, ("u2", 1): 1, ("f4", 1): 2, ("u1", 3): 3, ("u2", 3): 4}
GUID = bytes(range(16))


@dataclass(frozen=True)
class Tile:
    """One subblock: its *pixels* (Y, X) or (Y, X, 3), its place, and how large it is said to be, for a pyramid."""

    pixels: numpy.ndarray
    start: Mapping[str, int]  # of each dimension: {"X": 90, "S": 1}
    size: tuple[int, int] | None = None  # Y, X; None: as it is stored
    compression: int = 0
    packed: bytes | None = None  # what is stored in its place
    part: int = 0

    def entry(self, position: int) -> bytes:
        height, width = self.pixels.shape[:2]
        sizes = {
            "X": (self.size[1] if self.size else width, width),
            "Y": (self.size[0] if self.size else height, height),
        }
        kind = KINDS[self.pixels.dtype.str[1:], self.pixels.shape[2] if self.pixels.ndim == 3 else 1]
        start = {"X": 0, "Y": 0, **self.start}
        head = struct.pack("<2siqiiBB4si", b"DV", kind, position, self.part, self.compression, 0, 0, b"", len(start))
        return head + b"".join(
            struct.pack(
                "<4siifi", letter.encode(), first, sizes.get(letter, (1, 1))[0], 0.0, sizes.get(letter, (1, 1))[1]
            )
            for letter, first in start.items()
        )

    @property
    def data(self) -> bytes:
        if self.packed is not None:
            return self.packed
        return (self.pixels[..., ::-1] if self.pixels.ndim == 3 else self.pixels).tobytes()  # stored as BGR


def segment(kind: str, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 32)
    return struct.pack("<16sqq", kind.encode(), len(body), len(body)) + body


def subblock(tile: Tile, position: int) -> bytes:
    entry = tile.entry(position)
    head = (struct.pack("<iiq", 0, 0, len(tile.data)) + entry).ljust(16 + max(240, len(entry)), b"\0")
    return segment("ZISRAWSUBBLOCK", head + tile.data)


def czi(tiles: Sequence[Tile], xml: str = "", part: int = 0, elsewhere: Mapping[int, int] | None = None) -> bytes:
    """Return the bytes of a file of *tiles*, its directory at the beginning as ZEN has it.

    The subblocks of another part lie there; *elsewhere* says at which position, by the number of the tile.
    """
    text = (xml or XML).encode()
    metadata = segment("ZISRAWMETADATA", struct.pack("<ii", len(text), 0).ljust(256, b"\0") + text)
    size = 32 + 512 + len(metadata) + len(_directory(tiles, [0] * len(tiles)))
    positions, blocks = [], b""
    for number, tile in enumerate(tiles):
        positions.append(size + len(blocks) if tile.part == part else (elsewhere or {})[number])
        blocks += subblock(tile, positions[-1]) if tile.part == part else b""
    directory = _directory(tiles, positions)
    head = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, GUID, GUID, part, 544, 544 + len(directory), 0, 0)
    return segment("ZISRAWFILE", head.ljust(512, b"\0")) + directory + metadata + blocks


def _directory(tiles: Sequence[Tile], positions: Sequence[int]) -> bytes:
    entries = b"".join(tile.entry(position) for tile, position in zip(tiles, positions, strict=True))
    return segment("ZISRAWDIRECTORY", struct.pack("<i", len(tiles)).ljust(128, b"\0") + entries)


XML = """<ImageDocument><Metadata><Information><Image>
<AcquisitionDateAndTime>2021-06-15T06:09:43Z</AcquisitionDateAndTime><ObjectiveSettings><ObjectiveRef Id="O:2"/>
</ObjectiveSettings><MicroscopeRef Id="M:1"/><Dimensions><Channels>
<Channel Id="Channel:0" Name="DAPI"><Color>#FF00A1FF</Color><ExcitationWavelength>353</ExcitationWavelength>
<EmissionWavelength>465.5</EmissionWavelength></Channel>
<Channel Id="Channel:1" Name=""/></Channels>
<T><Positions><Interval><Increment>2.5</Increment></Interval></Positions></T>
</Dimensions></Image><Instrument><Microscopes><Microscope Id="M:1" Name="Axio"/></Microscopes><Objectives>
<Objective Id="O:1" Name="other"/><Objective Id="O:2" Name="Plan 20x/0.8"><LensNA>0.8</LensNA>
<NominalMagnification>20</NominalMagnification></Objective></Objectives></Instrument></Information>
<Scaling><Items><Distance Id="X"><Value>1.6E-06</Value></Distance><Distance Id="Y"><Value>0</Value></Distance>
<Distance Id="Z"><Value>-1</Value></Distance></Items></Scaling>
<DisplaySetting><Channels><Channel Id="Channel:1"><Color>#FF00FF00</Color></Channel></Channels></DisplaySetting>
</Metadata></ImageDocument>"""
