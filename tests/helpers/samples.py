"""Real files against what their formats' reference readers say of them.

The samples lie beside the checkout (``../shared/samples``); REPOFS_SAMPLES names another place.
"""

from __future__ import annotations

import json

import pytest

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from tests.stores.test_formats_samples import SAMPLES, differences


def assert_samples_right(folder: str) -> None:
    """Hold every sample in *folder* against truth.json; skip the test where there are no samples."""
    if not (SAMPLES / "truth.json").is_file():
        pytest.skip(f"no samples at {SAMPLES}: set REPOFS_SAMPLES to where truth.json lies")
    truth = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
    entries = [entry for entry in truth["entries"] if entry["path"].startswith(f"{folder}/") and "series" in entry]
    assert entries
    for entry in entries:
        path = SAMPLES / entry["path"]
        found = registry.read(path.name + "/" * path.is_dir(), LocalFiles(path.parent))
        assert found.note is None
        wrong = [differences(*both) for both in zip(found.images, entry["series"], strict=True)]
        assert wrong == [[]] * len(entry["series"]), entry["path"]
