"""Small OIF filesets and OIB files: settings as text, a TIFF for each plane, and a compound document (OLE2) of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy
import tifffile

_SECTOR = 512
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def settings(sections: Mapping[str, Mapping[str, object]]) -> bytes:
    """Return the text of *sections*, in UTF-16 with a mark as FluoView writes it."""
    lines = []
    for name, entries in sections.items():
        lines.append(f"[{name}]")
        lines += [f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}" for key, value in entries.items()]
    return b"\xff\xfe" + "\r\n".join([*lines, ""]).encode("utf-16-le")


def tiff(plane: numpy.ndarray) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, plane, photometric="minisblack", metadata=None)
    return file.getvalue()


def plane_names(shape: tuple[int, ...]) -> list[str]:
    channels, zs, times = shape[:3]
    return [f"s_C{c + 1:03}Z{z + 1:03}T{t + 1:03}" for c in range(channels) for z in range(zs) for t in range(times)]


def main_settings(shape: tuple[int, ...]) -> bytes:
    """Return the main settings of an image of *shape* (C, Z, T, Y, X)."""
    channels, zs, times, height, width = shape
    axes = {
        "X": {"MaxSize": width}, "Y": {"MaxSize": height}, "C": {"MaxSize": channels},
        "Z": {"MaxSize": zs, "Interval": 500.0, "UnitName": "nm"},
        "T": {"MaxSize": times, "StartPosition": 0.0, "EndPosition": 3000.0 * (times - 1), "UnitName": "ms"},
    }  # fmt: skip
    return settings(
        {
            "ProfileSaveInfo": {
                f"IniFileName{number}": f"scan.oif.files\\{name}.pty" for number, name in enumerate(plane_names(shape))
            },
            "Axis Parameter Common": {"AxisOrder": "XYCZT"},
            **{
                f"Axis {number} Parameters Common": {"AxisCode": code, **axis}
                for number, (code, axis) in enumerate(axes.items())
            },
            "Reference Image Parameter": {"ValidBitCounts": 12, "WidthConvertValue": 0.2, "WidthUnit": "um",
                                          "HeightConvertValue": 0.0, "HeightUnit": "um"},
            "GUI Channel 1 Parameters": {"CH Name": "CHS1", "DyeName": "Alexa", "ExcitationWavelength": 488,
                                         "EmissionWavelength": 520},
            "GUI Channel 2 Parameters": {"CH Name": "CHS2", "DyeName": ""},
            "Acquisition Parameters Common": {"ImageCaputreDate": "2008-11-04 10:20:30"},
            "Version Info": {"SystemName": "FLUOVIEW FV1000"},
        }
    )  # fmt: skip


PLANE_SETTINGS = settings(
    {"Acquisition Parameters Common": {"ObjectiveLens Name": "UPLSAPO 60x", "ObjectiveLens NAValue": 1.35,
                                       "Magnification": 60.0}}
)  # fmt: skip


def parts(samples: numpy.ndarray) -> dict[str, bytes]:
    """Return the files of the folder of an image (C, Z, T, Y, X)."""
    planes = samples.reshape(-1, *samples.shape[3:])
    found: dict[str, bytes] = {"s_Thumb_C001.tif": tiff(planes[0][:1, :1])}
    for name, plane in zip(plane_names(samples.shape), planes, strict=True):
        found[f"{name}.tif"], found[f"{name}.pty"] = tiff(plane), PLANE_SETTINGS
    return found


def oif(place: Path, samples: numpy.ndarray) -> None:
    """Write "scan.oif" and its folder into *place*."""
    (place / "scan.oif").write_bytes(main_settings(samples.shape))
    (place / "scan.oif.files").mkdir()
    for name, raw in parts(samples).items():
        (place / "scan.oif.files" / name).write_bytes(raw)


def oib(samples: numpy.ndarray) -> bytes:
    streams = {"Stream00000": main_settings(samples.shape)}
    names: dict[str, object] = {"MainFileName": "Stream00000", "Stream00000": "scan.oif"}
    for number, (name, raw) in enumerate(parts(samples).items(), 1):
        streams[f"Stream{number:05}"] = raw
        names[f"Stream{number:05}"] = f"Storage00001/{name}"
    return compound({"OibInfo.txt": settings({"OibSaveInfo": names}), **streams})


def compound(streams: Mapping[str, bytes]) -> bytes:
    """Return a compound document of *streams*, all in large sectors, side by side in the root."""
    padded = {name: raw.ljust(4096, b"\0") for name, raw in streams.items()}
    table: list[int] = []
    starts = []
    for raw in padded.values():
        starts.append(len(table))
        count = -(-len(raw) // _SECTOR)
        table += [*range(len(table) + 1, len(table) + count), _END]
    body = b"".join(raw + b"\0" * (-len(raw) % _SECTOR) for raw in padded.values())
    entries = [_entry("Root Entry", 5, _FREE, 1, _END, 0)]
    for number, ((name, raw), start) in enumerate(zip(padded.items(), starts, strict=True), 1):
        following = number + 1 if number < len(padded) else _FREE
        entries.append(_entry(name, 2, following, _FREE, start, len(raw)))
    directory = b"".join(entries)
    directory += b"\0" * (-len(directory) % _SECTOR)
    directory_start, count = len(table), len(directory) // _SECTOR
    table += [*range(len(table) + 1, len(table) + count), _END]
    tables = next(number for number in range(1, 109) if number * 128 >= len(table) + number)
    fat_start = len(table)
    table += [_FAT] * tables
    table += [_FREE] * (tables * 128 - len(table))
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack(
        "<16sHHHHHHIIIIIIIIII", b"", 0x3E, 3, 0xFFFE, 9, 6, 0, 0, 0, tables, directory_start, 0, 4096, _END, 0, _END, 0
    )
    difat = [*range(fat_start, fat_start + tables), *[_FREE] * (109 - tables)]
    return head + struct.pack("<109I", *difat) + body + directory + struct.pack(f"<{len(table)}I", *table)


def _entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
    text = name.encode("utf-16-le").ljust(64, b"\0")
    return struct.pack(
        "<64sHBBIII16sIQQIQ", text, 2 * len(name) + 2, kind, 1, _FREE, right, child, b"", 0, 0, 0, start, size
    )
