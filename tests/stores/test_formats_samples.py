"""Real files of every format against what their formats' reference readers say of them.

The samples lie beside the checkout (``../shared/samples``); REPOFS_SAMPLES names another place. `truth.json` there has
``entries``, each a file or a directory with its images (``series``), and ``filesets``, which files belong together.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from repofs import config
from repofs.cli import filesets
from repofs.cli.filesets import Fileset
from repofs.formats.candidates import Candidate, Rules, find
from repofs.image import ImageInfo
from repofs.importer.lending import InDirectory, LentFiles
from repofs.importer.readers import Readers

SAMPLES = Path(os.environ.get("REPOFS_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    if not (SAMPLES / "truth.json").is_file():
        pytest.skip(f"no samples at {SAMPLES}: set REPOFS_SAMPLES to where truth.json lies")
    told: dict[str, Any] = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
    return told


@pytest.fixture(scope="module")
def found(truth: dict[str, Any]) -> dict[str, Fileset]:
    """The fileset of each file and directory, by its path: as the importer's own reader processes see them."""
    rules = Rules(config.Drops())
    candidates = [one for one in find(os.fsencode(SAMPLES), rules, 10) if isinstance(one, Candidate)]
    made = filesets.group(candidates, config.Readers(), lambda candidate: None)
    return {os.path.relpath(os.fsdecode(one.path), SAMPLES): fileset for fileset in made for one in fileset.candidates}


def differences(image: ImageInfo, truth: dict[str, Any]) -> list[str]:
    """Return where *image* differs from the reference reader, one word each."""
    sizes = {"sizeX": image.size_x, "sizeY": image.size_y, "sizeZ": image.size_z, "sizeC": image.size_c,
             "sizeT": image.size_t}  # fmt: skip
    wrong = [f"{key} {value} for {truth[key]}" for key, value in sizes.items() if value != truth[key]]
    if truth.get("otherAxes"):  # folded into another axis or not: either is right
        wrong = [one for one in wrong if one.startswith(("sizeX", "sizeY"))]
    if image.pixel_type != truth["pixelType"]:
        wrong.append(f"pixelType {image.pixel_type} for {truth['pixelType']}")
    if truth.get("rgb") and not image.rgb:
        wrong.append("rgb")
    if truth["name"] is not None and image.name != truth["name"]:
        wrong.append(f"name {image.name!r} for {truth['name']!r}")
    ours = (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um)
    for axis, size, right in zip("XYZ", ours, truth["physicalSizeUm"], strict=True):
        if (size is None) != (right is None) or not math.isclose(size or 0, right or 0, rel_tol=1e-4):
            wrong.append(f"physicalSize{axis} {size} for {right}")
    if (
        truth["acquired"] is not None
        and (image.acquired or "")[: len(truth["acquired"])][:19] != truth["acquired"][:19]
    ):
        wrong.append(f"acquired {image.acquired} for {truth['acquired']}")
    if truth["channels"] is not None and [channel.name for channel in image.channels] != truth["channels"]:
        wrong.append(f"channels {[channel.name for channel in image.channels]} for {truth['channels']}")
    return wrong


def judged(entry: dict[str, Any], fileset: Fileset) -> Iterator[list[str]]:
    """Yield for each image of *entry* what is wrong with it."""
    images = fileset.recognised.images
    if len(images) != len(entry["series"]):
        yield [f"{len(images)} images for {len(entry['series'])}: {fileset.recognised.note}"]
        return
    for image, truth in zip(images, entry["series"], strict=True):
        if entry["format"].startswith("NDTiff"):  # it has its pixel size in each plane, which the truth leaves out
            truth = {**truth, "physicalSizeUm": (image.physical_size_x_um, image.physical_size_y_um, None)}
        yield differences(image, truth)


def test_images(
    truth: dict[str, Any], found: dict[str, Fileset], record_property: Callable[[str, object], None]
) -> None:
    right: Counter[str] = Counter()
    wrong: list[str] = []
    members = {path for one in truth["filesets"] for path in one["members"]}
    files = 0
    for entry in truth["entries"]:
        if "series" not in entry or entry["path"] in members:
            continue  # parts of filesets: the next test
        fileset = found.get(entry["path"]) or _below(found, entry["path"])
        files += len(entry["files"])
        for faults in judged(entry, fileset):
            right[entry["format"]] += not faults
            wrong += [f"{entry['path']}: {', '.join(faults)}"] if faults else []
    record_property(
        "told", f"samples: {files} files, {len(right)} formats, {right.total()} images right, {len(wrong)} wrong"
    )
    assert files > 0
    assert wrong == []


def _below(found: dict[str, Fileset], directory: str) -> Fileset:
    """Return the one fileset with images of a directory that is none itself, such as a folder of NDTiff."""
    inside = {id(one): one for path, one in found.items() if path.startswith(directory + "/") and one.recognised.images}
    (fileset,) = inside.values()
    return fileset


def test_filesets(truth: dict[str, Any], found: dict[str, Fileset]) -> None:
    for one in truth["filesets"]:
        wanted = {*one["members"], *([one["main"]] if "main" in one else [])}
        fileset = found[one["members"][0]]
        files = {os.path.relpath(os.fsdecode(path), SAMPLES) for path in fileset.files}
        assert files == wanted, one["kind"]
        assert fileset.missing == ()
        if "rows" in one:
            (image,) = fileset.recognised.images
            assert (image.size_x, image.size_y) == (one["columns"], one["rows"])
            assert image.size_z * image.size_t * image.size_c == one["instances"]


async def _pictures(some: Iterable[Fileset]) -> dict[str, list[bytes]]:
    made = {}
    async with Readers(config.Readers(workers=2)) as readers:
        for fileset in some:
            main = fileset.candidates[0]
            with filesets.opened(main.path if main.is_directory else main.directory) as fd:
                names = [name for one in fileset.candidates for name in one.files]
                lent = InDirectory(main.name, fd) if main.is_directory else LentFiles(fd, names)
                made[os.fsdecode(main.path)] = [
                    (
                        await readers.picture(
                            main.name + b"/" * main.is_directory, lent, image.series, image.appearance
                        )
                    ).png
                    for image in fileset.recognised.images
                ]
    return made


def test_thumbnails(found: dict[str, Fileset]) -> None:
    """Each image has a picture, made in a confined process; but for those of which upstream took the pixels away."""
    some = {id(one): one for one in found.values() if one.recognised.images}.values()
    whole = [one for one in some if b"broken" not in one.directory and b"dicomdir" not in one.directory]
    pictures = trio.run(_pictures, whole)
    assert len(pictures) == len(whole) > 0
    for path, made in pictures.items():
        assert all(png.startswith(b"\x89PNG") for png in made), path
