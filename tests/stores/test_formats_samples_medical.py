"""Real DICOM, NIfTI, PAR/REC and NRRD files against what their formats' reference readers say of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.model import ImageInfo, Members
from tests.stores.test_formats_samples import SAMPLES, differences

FORMATS = ("DICOM", "NIfTI", "Philips", "NRRD")


def truth(part: str) -> list[dict[str, Any]]:
    if not (SAMPLES / "truth.json").is_file():
        pytest.skip(f"no samples at {SAMPLES}: set REPOFS_SAMPLES to where truth.json lies")
    found: list[dict[str, Any]] = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))[part]
    return found


def images_of(path: Path) -> tuple[ImageInfo, ...]:
    """Return the images of the fileset of which *path* is the main file; each of them has a picture."""
    files = LocalFiles(path.parent)
    images = registry.read(path.name, files).images
    for image in images:
        assert registry.picture(path.name, files, image.series).png
    return images


def test_files(capsys: pytest.CaptureFixture[str]) -> None:
    wrong: list[str] = []
    files = right = 0
    for entry in truth("entries"):
        if len(entry["files"]) != 1 or not entry["format"].startswith(FORMATS):
            continue
        files += 1
        images = images_of(SAMPLES / entry["path"])
        series = entry.get("series", [])  # a part of a pair has none
        if len(images) != len(series):
            wrong.append(f"{entry['path']}: {len(images)} images of {len(series)}")
            continue
        for image, said in zip(images, series, strict=True):
            different = differences(image, {"rgb": image.rgb} | said)  # pydicom's truth does not say it
            right += not different
            wrong += [f"{entry['path']} [{image.series}]: {', '.join(different)}"] if different else []
    with capsys.disabled():
        print(f"\nDICOM, NIfTI, PAR/REC, NRRD samples: {files} files, {right} images right, {len(wrong)} wrong")
    assert files > 0
    assert wrong == []


def test_series() -> None:
    series = [fileset for fileset in truth("filesets") if fileset["kind"] == "DICOM series"]
    assert series
    for fileset in series:
        members = [SAMPLES / name for name in fileset["members"]]
        for path in members:
            said = registry.look(path.name, LocalFiles(path.parent))
            assert isinstance(said, Members)
            assert said.key == f"dicom:{fileset['seriesInstanceUID']}"
        (image,) = images_of(members[-1])
        assert (image.size_x, image.size_y) == (fileset["columns"], fileset["rows"])
        assert image.size_z * image.size_c * image.size_t == fileset["instances"]


def test_pairs() -> None:
    pairs = [one for one in truth("filesets") if one["kind"] == "pair" and one["main"].endswith((".nhdr", ".PAR"))]
    assert pairs
    for pair in pairs:
        main = SAMPLES / pair["main"]
        names = (main.name, *(Path(name).name for name in pair["members"]))
        for name in names:
            said = registry.look(name, LocalFiles(main.parent))
            assert isinstance(said, Members)
            assert (said.main, said.names) == (main.name, names)
            assert said.certain == (name == main.name)
