"""Small files that ask for a lot: of memory, of time, or of what is not theirs."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import tifffile
from numcodecs import Zlib

from tests.helpers.czi import Tile, czi

G = 10**9
ENTITIES = (
    '<!DOCTYPE OME [<!ENTITY a "' + "lol" * 1000 + '">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 20}">' for n in range(12)) + "]>"
)  # fmt: skip
OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="{name}"><Pixels '
    'ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{size}" SizeY="{size}" SizeZ="{size}" SizeC="1" '
    'SizeT="1">{data}</Pixels></Image></OME>'
)
GROUP = b'{"zarr_format": 2}'
TILE = Tile(numpy.zeros((16, 16), "u1"), {"X": 0, "Y": 0})


def zeros(count: int) -> bytes:
    """Return *count* zero bytes deflated, a thousandth of them."""
    pack, block = zlib.compressobj(9), bytes(1 << 20)
    return b"".join(pack.compress(block) for _ in range(count >> 20)) + pack.flush()


def tiff(width: int, height: int, data: bytes = b"", following: int = 0, compression: int = 1) -> bytes:
    """Return a page of one strip, and where the next page is said to be."""
    tags = ((256, width), (257, height), (258, 8), (259, compression), (262, 1), (273, 200), (278, height))
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, len(data)))]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)
    return head.ljust(200, b"\0") + data


def many_tiles() -> bytes:
    tags = (256, 2**31 - 1, 1), (257, 2**31 - 1, 1), (322, 16, 1), (323, 16, 1), (324, 200, 2**30), (325, 200, 2**30)
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, value, count in tags)
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries).ljust(4096, b"\0")


def ome_tiff(xml: str) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, numpy.zeros((16, 16), "u1"), description=xml.encode(), metadata=None)
    return file.getvalue()


def png(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), *more, (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def items(count: int) -> bytes:
    """Return a DICOM file with a sequence of *count* empty items."""
    sequence = b"\xfe\xff\x00\xe0\0\0\0\0" * count
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + b"1.2.840.10008.1.2.1\0"
    meta = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(syntax)) + syntax
    return bytes(128) + b"DICM" + meta + struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, len(sequence)) + sequence


def nrrd(sizes: str, where: str = "") -> bytes:
    return f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: {sizes}\nencoding: raw\n{where}\n".encode()


def ics(source: str) -> bytes:
    lines = ("ics_version\t2.0", "filename\ta", f"source\tfile\t{source}", "source\toffset\t0", "layout\tparameters\t3",
             "layout\torder\tbits\tx\ty", "layout\tsizes\t8\t16\t16", "representation\tformat\tinteger",
             "representation\tsign\tunsigned", "representation\tcompression\tuncompressed", "end")  # fmt: skip
    return "\n".join(("\t", *lines, "")).encode()


def zarr(
    array: Mapping[str, object], chunk: bytes = b"", attributes: Mapping[str, object] | None = None
) -> dict[str, bytes]:
    """Return the files of an OME-Zarr image of one array, a changed one."""
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = [{"type": "scale", "scale": [1, 1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    shown = attributes or {"multiscales": [{"version": "0.4", "axes": axes, "datasets": [level]}]}
    plain = {"zarr_format": 2, "shape": [16, 16], "chunks": [16, 16], "dtype": "|u1", "compressor": None,
             "fill_value": 0, "order": "C", "filters": None}  # fmt: skip
    documents = {".zattrs": shown, "0/.zarray": {**plain, **array}}
    files = {".zgroup": GROUP, **{name: json.dumps(document).encode() for name, document in documents.items()}}
    return {**files, "0/0.0": chunk} if chunk else files


def plate(wells: int) -> dict[str, object]:
    places = [{"path": f"{n // 1000}/{n % 1000}", "rowIndex": n // 1000, "columnIndex": n % 1000} for n in range(wells)]
    names = [{"name": str(n)} for n in range(1000)]
    return {"plate": {"version": "0.4", "rows": names, "columns": names, "wells": places}}


Made = bytes | Mapping[str, bytes]  # of a directory: the files in it


def put(place: Path, made: Made) -> None:
    if isinstance(made, Mapping):
        for name, content in made.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
    else:
        place.write_bytes(made)


BOMBS: Mapping[str, Callable[[], Made]] = {
    "size.tif": lambda: tiff(G, G, bytes(100)),
    "loop.tif": lambda: tiff(8, 8, bytes(64), following=8),
    "tiles.tif": many_tiles,
    "deflate.tif": lambda: tiff(40000, 40000, zeros(1 << 30), compression=8),
    "small_deflate.tif": lambda: tiff(64, 64, zeros(1 << 30), compression=8),
    "size.ome.tif": lambda: ome_tiff(OME.format(name="a", size=G, data="<TiffData/>")),
    "entities.ome.tif": lambda: ome_tiff(ENTITIES + OME.format(name="&m;", size=16, data="<TiffData/>")),
    "entities.companion.ome": lambda: (ENTITIES + OME.format(name="&m;", size=16, data="")).encode(),
    "deep.companion.ome": lambda: b"<OME>" + b"<a>" * 500_000,
    "entities.czi": lambda: czi([TILE], xml=ENTITIES + "<ImageDocument><Metadata>&m;</Metadata></ImageDocument>"),
    "size.czi": lambda: czi([TILE, Tile(TILE.pixels, {"X": 2**31 - 20, "Y": 2**31 - 20, "Z": 2**31 - 2})]),
    "size.png": lambda: png(2**31 - 1, 2**31 - 1, zeros(1 << 26)),
    "deflate.png": lambda: png(30000, 30000, zeros(1 << 30)),
    "text.png": lambda: png(16, 16, zlib.compress(bytes(17 * 16)), (b"zTXt", b"a\0\0" + zeros(1 << 30))),
    "size.bmp": lambda: b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, G, G, 1, 24, 0, 0, 0, 0, 0, 0),
    "size.gif": lambda: b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;",
    "size.nrrd": lambda: nrrd(f"{G} {G}"),
    "items.dcm": lambda: items(1_000_000),
    "pages.pattern": lambda: b"a<0-999999999>_<0-999999999>.tif",
    "size.zarr": lambda: zarr({"shape": [G, G], "chunks": [G, G]}, b"x"),
    "tiny.zarr": lambda: zarr({"shape": [2**70, 2**70], "chunks": [1, 1]}),
    "zlib.zarr": lambda: zarr({"compressor": Zlib().get_config()}, zeros(1 << 30)),
    "plate.zarr": lambda: zarr({}, attributes=plate(1_000_000)),
    "nested.zarr": lambda: {".zgroup": GROUP, ".zattrs": b"[" * 1_000_000},
}

ELSEWHERE = ("../../other/file.tif", "/etc/passwd", "x" * 300 + ".tif", "a\nb.tif", "..")

REACHING: Mapping[str, Callable[[str], bytes]] = {
    "a.companion.ome": lambda name: OME.format(
        name="a", size=1, data=f'<TiffData IFD="0" PlaneCount="1"><UUID FileName="{name}">urn:uuid:0</UUID></TiffData>'
    ).encode(),
    "a.pattern": str.encode,
    "a.nhdr": lambda name: nrrd("16 16", f"data file: {name}"),
    "a.ics": ics,
    "a.nd": lambda name: (
        f'"NDInfoFile", Version 1.0\n"DoWave", TRUE\n"NWavelengths", 1\n"WaveName1", "{name}"\n'.encode()
    ),
    "a.oif": lambda name: f'[OIF]\r\n[ProfileSaveInfo]\r\nIniFileName0="{name}"\r\n'.encode("utf-16"),
}
