"""Installs the wicked reader, so that reader processes find it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

READER = Path(__file__).with_name("wicked_reader.py")


def install(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes that are started from now on find the wicked reader as an installed third party's one."""
    described = package / "wicked-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: wicked\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[repofs.readers]\nwicked = wicked_reader:WickedReader\n")
    shutil.copy(READER, package)  # by itself: other helpers are called like libraries
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
