"""Small ND2 files: chunks with names, their map at the end, and what describes them as XML, which nd2 reads too."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy

Value = int | float | bool | str | Mapping[str, "Value"]

_MAGIC = 0x0ABECEDA
_SIGNATURE = b"ND2 CHUNK MAP SIGNATURE 0000001!"
_TYPES = {bool: "bool", int: "lx_int64", float: "double", str: "CLxStringW"}
_DATE = "18/06/2014  15:55:27"


def _node(name: str, value: Value) -> str:
    if isinstance(value, Mapping):
        return f'<{name} runtype="CLxListVariant">{"".join(_node(*item) for item in value.items())}</{name}>'
    return f'<{name} runtype="{_TYPES[type(value)]}" value="{value}"/>'


def _variant(name: str, value: Value) -> bytes:
    return f'<variant version="1.0">{_node(name, value)}</variant>'.encode()


def _chunk(name: bytes, data: bytes, header: int = 0) -> bytes:
    """Return a chunk whose name is padded so that its data begin after *header* bytes."""
    padded = name.ljust(max(len(name), header - 16), b"\0")
    whole = struct.pack("<IIQ", _MAGIC, len(padded), len(data)) + padded + data
    return whole + b"\0" * (-len(whole) % 4096)


def time_loop(count: int, period_ms: float, measured_ms: float = 0.0) -> dict[str, Value]:
    pars = {"uiCount": count, "dStart": 0.0, "dPeriod": period_ms, "dDuration": 0.0, "dAvgPeriodDiff": measured_ms}
    return {"eType": 1, "uLoopPars": pars}


def z_loop(count: int, step_um: float) -> dict[str, Value]:
    return {"eType": 4, "uLoopPars": {"uiCount": count, "dZStep": step_um, "dZLow": 0.0, "dZHigh": 1.0}}


def positions(names: Sequence[str]) -> dict[str, Value]:
    points = {f"i{number:010}": {"dPosX": 1.0, "dPosName": name} for number, name in enumerate(names)}
    return {"eType": 2, "uLoopPars": {"Points": points}}


def _nested(loops: Sequence[dict[str, Value]]) -> dict[str, Value]:
    inner = {"ppNextLevelEx": {"i0000000000": _nested(loops[1:])}} if len(loops) > 1 else {}
    return {**loops[0], **inner}


def _probe(excitation_nm: float, emission_nm: float) -> dict[str, Value]:
    return {
        f"m_{kind}Spectrum": {"uiCount": 1, "pPoint": {"Point0": {"eType": 1, "dWavelength": peak, "dTValue": 1.0}}}
        for kind, peak in (("Excitation", excitation_nm), ("Emission", emission_nm))
    }


def _channels(count: int, samples: int) -> dict[str, Value]:
    names = ("DAPI", "GFP", "Cy5")
    planes = {
        f"a{number}": {"uiCompCount": samples, "uiSampleIndex": number, "sDescription": names[number],
                       "uiColor": 0x0000FF80 if number else 0x00FF0000,
                       "pFluorescentProbe": _probe(400.0 + number, 500.0)}
        for number in range(count)
    }  # fmt: skip
    return {
        "bCalibrated": True, "dCalibration": 0.25, "dCalibPrecision": 0.0, "dObjectiveMag": 60.0, "dObjectiveNA": 0.95,
        "wsObjectiveName": "Plan Apo 60x", "dRefractIndex1": 1.0, "dZoom": 1.0,
        "sPicturePlanes": {"uiCount": count, "uiSampleCount": count, "sPlaneNew": planes},
    }  # fmt: skip


def nd2(
    frames: numpy.ndarray,
    loops: Sequence[dict[str, Value]] = (),
    padding: int = 0,
    missing: Sequence[int] = (),
    compressed: bool = False,
) -> bytes:
    """Return a file of *frames* (frame, Y, X, channel, sample), rows padded, without the frames that are *missing*."""
    count, height, width, channels, samples = frames.shape
    attributes: dict[str, Value] = {
        "uiWidth": width, "uiWidthBytes": frames[0, 0].nbytes + padding, "uiHeight": height,
        "uiComp": channels * samples,
        "uiBpcInMemory": 8 * frames.itemsize, "uiBpcSignificant": 8 * frames.itemsize, "uiSequenceCount": count,
        "eCompression": 0 if compressed else 2, "dCompressionParam": 0.0,
    }  # fmt: skip
    info: dict[str, Value] = {"TextInfoItem_9": _DATE, "TextInfoItem_5": "Microscope: Ti Microscope&#13;&#10;Zoom: 1"}
    chunks = {
        b"ImageAttributesLV!": _variant("SLxImageAttributes", attributes),
        b"ImageMetadataSeqLV|0!": _variant("SLxPictureMetadata", _channels(channels, samples)),
        b"ImageTextInfoLV!": _variant("SLxImageTextInfo", info),
    }
    if loops:
        chunks[b"ImageMetadataLV!"] = _variant("SLxExperiment", _nested(loops))
    raw = _chunk(b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0".ljust(64, b"\0"))
    places: dict[bytes, tuple[int, int]] = {}
    for name, data in chunks.items():
        places[name] = len(raw), len(data)
        raw += _chunk(name, data)
    for number, frame in enumerate(frames):
        rows = b"".join(row.tobytes() + b"\xff" * padding for row in frame)
        data = b"\0" * 8 + (zlib.compress(rows) if compressed else rows)
        if number not in missing:
            places[b"ImageDataSeq|%d!" % number] = len(raw), len(data)
            raw += _chunk(b"ImageDataSeq|%d!" % number, data, header=4096 - 8)
    table = b"".join(name + struct.pack("<QQ", *place) for name, place in places.items()) + _SIGNATURE
    return raw + _chunk(b"ND2 FILEMAP SIGNATURE NAME 0001!", table) + _SIGNATURE + struct.pack("<Q", len(raw))
