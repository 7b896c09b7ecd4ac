"""Small LIF and LOF files, written by the layout of their header and blocks."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

FIRST_STAMP = 132593495579510000  # 2021-03-04T16:39:17.951
TAGS = {"Gray": 0, "Red": 1, "Green": 2, "Blue": 3}
IDS = {"X": 1, "Y": 2, "Z": 3, "T": 4, "L": 5, "M": 10}


@dataclass(frozen=True)
class Picture:
    """One image of *samples*; its axes, *order*, are those of the array; 'C' are channels with these *tables*."""

    name: str
    samples: numpy.ndarray
    order: str
    tables: Sequence[str] = ("Gray",)
    extra: str = ""  # XML in Data/Image
    inner: str = ""  # XML of the images in its folder

    def element(self, block: str) -> str:
        kind = int(self.samples.dtype.kind == "f")
        steps = dict(zip(self.order, self.samples.strides, strict=True))
        channels = "".join(
            f'<ChannelDescription DataType="{kind}" ChannelTag="{TAGS.get(table, 0)}" '
            f'Resolution="{8 * self.samples.itemsize}" LUTName="{table}" BytesInc="{number * steps.get("C", 0)}" '
            'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" IsLUTInverted="0" BitInc="0"/>'
            for number, table in enumerate(self.tables)
        )
        axes = "".join(
            f'<DimensionDescription DimID="{IDS[axis]}" NumberOfElements="{count}" Origin="0" BitInc="0" '
            f'Length="{(count - 1) * (2.0 if axis == "T" else 5e-7)}" Unit="{"s" if axis == "T" else "m"}" '
            f'BytesInc="{steps[axis]}"/>'
            for axis, count in zip(self.order, self.samples.shape, strict=True)
            if axis != "C"
        )
        return (
            f'<Element Name="{self.name}"><Data><Image><ImageDescription><Channels>{channels}</Channels>'
            f"<Dimensions>{axes}</Dimensions></ImageDescription>"
            f"<TimeStampList>{FIRST_STAMP:x} {FIRST_STAMP + 10:x}</TimeStampList>{self.extra}</Image></Data>"
            f'<Memory Size="{self.samples.nbytes}" MemoryBlockID="{block}"/><Children>{self.inner}</Children></Element>'
        )


def text(words: str) -> bytes:
    return struct.pack("<IIBI", 0x70, 2 * len(words) + 5, 0x2A, len(words)) + words.encode("utf-16-le")


def block(name: str, data: bytes) -> bytes:
    head = struct.pack("<IIBQBI", 0x70, 0, 0x2A, len(data), 0x2A, len(name))
    return head + name.encode("utf-16-le") + data


def lif(pictures: Sequence[Picture], head: str = "") -> bytes:
    """Return a file of *pictures*, which lie in no folder."""
    images = "".join(picture.element(f"Mem_{number}") for number, picture in enumerate(pictures))
    xml = f'{head}<LMSDataContainerHeader Version="2"><Element Name="scan"><Children>{images}</Children></Element>'
    blocks = (block(f"Mem_{number}", picture.samples.tobytes()) for number, picture in enumerate(pictures))
    return text(f"{xml}</LMSDataContainerHeader>") + b"".join(blocks)


def lof(picture: Picture) -> bytes:
    data = picture.samples.tobytes()
    xml = f'<LMSDataContainerHeader Version="2">{picture.element("Mem_0")}</LMSDataContainerHeader>'
    return text("LMS_Object_File") + struct.pack("<BIBIBQ", 0x2A, 1, 0x2A, 0, 0x2A, len(data)) + data + text(xml)


SETTINGS = """<Attachment Name="HardwareSetting" SystemTypeName="TCS SP8">
<ATLConfocalSettingDefinition ObjectiveName="HC PL   63x " Magnification="63" NumericalAperture="1.3"
 MicroscopeModel="DMI6000"><DetectorList><Detector Channel="1" IsActive="1"/><Detector Channel="2" IsActive="0"/>
<Detector Channel="3" IsActive="1"/></DetectorList><Spectro><MultiBand Channel="1" DyeName="Leica/FITC"/>
<MultiBand Channel="2" DyeName="Leica/DAPI"/><MultiBand Channel="3" DyeName=""/></Spectro>
</ATLConfocalSettingDefinition></Attachment>"""
