"""Real TIFF and OME-TIFF files against what their formats' reference readers say of them.

The samples lie beside the checkout (``../shared/samples``); REPOFS_SAMPLES names another place.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.model import ImageInfo

SAMPLES = Path(os.environ.get("REPOFS_SAMPLES", Path(__file__).parents[3] / "shared" / "samples"))
SUFFIXES = (".tif", ".tiff", ".stk", ".svs")


def entries() -> list[dict[str, Any]]:
    """Return the entries of truth.json that are one TIFF each; folders of files are filesets of later readers."""
    truth = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
    return [
        entry for entry in truth["entries"] if len(entry["files"]) == 1 and entry["path"].lower().endswith(SUFFIXES)
    ]


def differences(image: ImageInfo, truth: dict[str, Any]) -> list[str]:
    """Return where *image* differs from the reference reader, one word each."""
    found = {
        "sizeX": image.size_x, "sizeY": image.size_y, "sizeZ": image.size_z, "sizeC": image.size_c,
        "sizeT": image.size_t, "pixelType": image.pixel_type, "rgb": image.rgb,
    }  # fmt: skip
    wrong = [key for key, value in found.items() if value != truth.get(key, False)]
    if truth["name"] is not None and image.name != truth["name"]:
        wrong.append("name")
    sizes = (image.physical_size_x_um, image.physical_size_y_um, image.physical_size_z_um)
    for axis, ours, theirs in zip("XYZ", sizes, truth["physicalSizeUm"], strict=True):
        if (ours is None) != (theirs is None) or not math.isclose(ours or 0, theirs or 0, rel_tol=1e-4):
            wrong.append(f"physicalSize{axis}")
    if (image.acquired or "")[:19] != (truth["acquired"] or "")[:19]:
        wrong.append("acquired")
    if truth["channels"] is not None and [channel.name for channel in image.channels] != truth["channels"]:
        wrong.append("channels")
    return wrong


def test_samples(capsys: pytest.CaptureFixture[str]) -> None:
    if not (SAMPLES / "truth.json").is_file():
        pytest.skip(f"no samples at {SAMPLES}: set REPOFS_SAMPLES to where truth.json lies")
    wrong: list[str] = []
    files = right = 0
    for entry in entries():
        files += 1
        path = SAMPLES / entry["path"]
        images = registry.read(path.name, LocalFiles(path.parent)).images
        if len(images) != len(entry["series"]):
            wrong.append(f"{entry['path']}: {len(images)} images of {len(entry['series'])}")
            continue
        for image, truth in zip(images, entry["series"], strict=True):
            different = differences(image, truth)
            right += not different
            wrong += [f"{entry['path']} [{image.series}]: {', '.join(different)}"] if different else []
    with capsys.disabled():
        print(f"\nTIFF samples: {files} files, {right} images right, {len(wrong)} wrong")
    assert files > 0
    assert wrong == []
