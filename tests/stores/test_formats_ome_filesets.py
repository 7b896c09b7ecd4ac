"""OME-TIFF of several files: which belong together, what they hold, and what is said of those that are missing."""

from __future__ import annotations

import io
import time

import numpy
import pytest
import tifffile

from repofs.formats import registry
from repofs.image import Members
from tests.helpers.formats import ManyFiles

PLANES = numpy.random.default_rng(3).integers(0, 60_000, (2, 3, 16, 24)).astype("u2")  # Z, C
NAMES = ("cells_z0.ome.tif", "cells_z1.ome.tif")


def xml(*, names: tuple[str, ...] = NAMES, uuid: str = "urn:uuid:0", more: str = "") -> str:
    """Return OME-XML in which each file holds one Z with three channels."""
    planes = "".join(
        f'<TiffData FirstZ="{z}" FirstC="{c}" IFD="{c}" PlaneCount="1"><UUID FileName="{name}">urn:uuid:{z}</UUID>'
        f"</TiffData>"
        for z, name in enumerate(names)
        for c in range(3)
    )
    return (
        f'<OME UUID="{uuid}" xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0" Name="cells">'
        f'<Pixels DimensionOrder="XYCZT" Type="uint16" SizeX="24" SizeY="16" SizeZ="{len(names)}" SizeC="3" SizeT="1">'
        f"{more}{planes}</Pixels></Image></OME>"
    )


def tiff(pages: numpy.ndarray, description: str) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pages, description=description.encode(), metadata=None, photometric="minisblack")
    return file.getvalue()


def written(**how: object) -> dict[str, bytes]:
    return {name: tiff(PLANES[z], xml(uuid=f"urn:uuid:{z}", **how)) for z, name in enumerate(NAMES)}  # type: ignore[arg-type]


BINARY_ONLY = '<OME><BinaryOnly MetadataFile="cells.companion.ome" UUID="urn:uuid:9"/></OME>'


def with_companion() -> dict[str, bytes]:
    tiffs = {name: tiff(PLANES[z], BINARY_ONLY) for z, name in enumerate(NAMES)}
    return tiffs | {"cells.companion.ome": b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>' + xml().encode()}


def members(name: str, files: ManyFiles) -> Members | None:
    found = registry.look(name, files)
    return found if isinstance(found, Members) else None


def test_each_file_names_all_of_them_and_the_same_main_one() -> None:
    files = ManyFiles(written())
    assert [members(name, files) for name in NAMES] == [Members(NAMES[0], NAMES)] * 2


def test_the_companion_is_the_main_file() -> None:
    files = ManyFiles(with_companion())
    everything = Members("cells.companion.ome", ("cells.companion.ome", *NAMES))
    assert members("cells.companion.ome", files) == everything
    assert members(NAMES[1], files) == Members(everything.main, (everything.main, NAMES[1]))


@pytest.mark.parametrize("companion", [False, True])
def test_the_main_file_gives_the_images_of_the_whole_set(companion: bool) -> None:
    files = ManyFiles(with_companion() if companion else written())
    main = "cells.companion.ome" if companion else NAMES[0]
    found = registry.read(main, files)
    assert (found.format, found.note) == ("OME-TIFF", None)
    (image,) = found.images
    assert (image.name, image.size_x, image.size_y, image.size_z, image.size_c) == ("cells", 24, 16, 2, 3)
    assert numpy.array_equal(_preview(main, files), PLANES[1])


def _preview(main: str, files: ManyFiles) -> numpy.ndarray:
    (reader,) = (
        reader for reader in registry.readers() if reader.accepts(b"II*\0" if "tif" in main else b"<", main, files)
    )
    return reader.preview(main, files, 0, 24)


def test_a_file_without_its_set_stands_for_itself() -> None:
    found = registry.read(NAMES[1], ManyFiles(written(), strange=NAMES[:1]))
    assert found.images[0].size_z == 1
    assert found.note == f"the OME-XML also names planes in {NAMES[0]}, which stand for themselves"
    assert numpy.array_equal(_preview(NAMES[1], ManyFiles(written(), strange=NAMES[:1])), PLANES[1])


def test_a_file_that_is_not_among_the_named_ones_stands_alone() -> None:
    files = ManyFiles({"renamed.ome.tif": written()[NAMES[0]]})
    assert members("renamed.ome.tif", files) is None
    assert registry.read("renamed.ome.tif", files).images[0].size_z == 1


@pytest.mark.parametrize("companion", [False, True])
def test_a_missing_file_is_named(companion: bool) -> None:
    names = ("cells_z0.ome.tif", "cells_z1.ome.tif", "cells_z2.ome.tif")
    raw = {name: tiff(PLANES[z], xml(names=names, uuid=f"urn:uuid:{z}")) for z, name in enumerate(NAMES)}
    if companion:
        raw = {name: tiff(PLANES[0], BINARY_ONLY) for name in NAMES} | {"a.companion.ome": xml(names=names).encode()}
    found = registry.read(min(raw), ManyFiles(raw))
    assert found.note == "cells_z2.ome.tif is missing: bring the whole fileset"
    assert found.images[0].size_z == 3


def test_a_truncated_file_is_named() -> None:
    raw = written()
    raw[NAMES[1]] = raw[NAMES[1]][:1000]
    note = registry.read(NAMES[0], ManyFiles(raw)).note
    assert f"in {NAMES[1]}, the file is not whole: page 2 cannot be read" in str(note)
    raw[NAMES[1]] = b"PK\3\4"
    assert f"in {NAMES[1]}, the file is not whole: it does not begin as a TIFF does" in str(
        registry.read(NAMES[0], ManyFiles(raw)).note
    )


def test_a_companion_without_its_files() -> None:
    files = ManyFiles({"cells.companion.ome": xml().encode()})
    found = registry.read("cells.companion.ome", files)
    assert found.images == ()
    assert found.note == (
        f"no plane of cells is whole; {NAMES[0]}, {NAMES[1]} are missing: bring the whole fileset; no image can be read"
    )


@pytest.mark.parametrize("evil", ["../../other/user/file.tif", "/etc/passwd", "a/../../b.tif", "./", "a//b"])
@pytest.mark.parametrize("companion", [False, True])
def test_names_that_lead_outside_are_no_members(evil: str, companion: bool) -> None:
    names = (NAMES[0], NAMES[1], evil)
    raw = {name: tiff(PLANES[z], xml(names=names, uuid=f"urn:uuid:{z}")) for z, name in enumerate(NAMES)}
    if companion:
        raw["a.companion.ome"] = xml(names=names).encode()
    files = ManyFiles(raw | {evil: raw[NAMES[0]]})
    together = members(min(raw), files)
    assert together is not None
    assert set(together.names) == set(raw)
    note = registry.read(min(raw), files).note
    assert note == f"it names {evil}, outside its own directory, which is not followed"
    escaping = f'<OME><BinaryOnly MetadataFile="{evil}" UUID="urn:uuid:9"/></OME>'
    assert members("x.ome.tif", ManyFiles({"x.ome.tif": tiff(PLANES[0], escaping)})) is None


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"<OME><Image", "it is not whole"),
        (b"<svg/>", "its root is not OME"),
        (b'<!DOCTYPE OME [<!ENTITY a "aaaa">]><OME>&a;</OME>', "document type declaration"),
        (b"<OME>" + b" " * (64 << 20) + b"</OME>", "longer than 64 MiB"),
        (b"<" + bytes(range(256)), "it is not whole"),
    ],
    ids=["cut", "svg", "entities", "bytes", "garbage"],
)
def test_a_companion_that_is_of_no_use(raw: bytes, why: str) -> None:
    files = ManyFiles({"a.companion.ome": raw})
    assert members("a.companion.ome", files) is None
    found = registry.read("a.companion.ome", files)
    assert why in str(found.note)
    assert str(found.note).endswith("no image can be read")


def test_a_companion_cut_at_every_power_of_two() -> None:
    whole = with_companion()
    raw = whole["cells.companion.ome"]
    for power in range(len(raw).bit_length()):
        before = time.process_time()
        found = registry.read("cells.companion.ome", ManyFiles(whole | {"cells.companion.ome": raw[: 1 << power]}))
        assert found.note is not None
        assert time.process_time() - before < 2


def test_a_name_alone_is_no_companion() -> None:
    found = registry.read("a.companion.ome", ManyFiles({"a.companion.ome": b"II*\0garbage"}))
    assert found.format == "TIFF"


def test_planes_counted_without_end() -> None:
    many = xml().replace('PlaneCount="1"', 'PlaneCount="999999999999999999"')
    files = ManyFiles({name: tiff(PLANES[z], many) for z, name in enumerate(NAMES)})
    before = time.process_time()
    assert "names page 1000000000000000001 for cells" in str(registry.read(NAMES[0], files).note)
    assert _preview(NAMES[0], files).shape[1:] == (16, 24)
    assert time.process_time() - before < 2


def test_a_thousand_files() -> None:
    names = tuple(f"z{z:04}.ome.tif" for z in range(1000))
    raw = tiff(PLANES[0], BINARY_ONLY)
    files = ManyFiles(dict.fromkeys(names, raw) | {"a.companion.ome": xml(names=names).encode()})
    before = time.process_time()
    found = registry.read("a.companion.ome", files)
    assert (found.images[0].size_z, found.note) == (1000, None)
    assert time.process_time() - before < 5
