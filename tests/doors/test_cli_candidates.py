"""repofs candidates: filesets, their images and what is missing, of files that nobody imports."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
import tifffile

from tests.helpers.mounting import REPOFS
from tests.services.conftest import wicked  # noqa: F401 - a third party's reader, in the processes of the command


def candidates(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*REPOFS, "candidates", *map(str, words)], capture_output=True, text=True, check=False)


def facts(*words: object) -> list[dict[str, object]]:
    told: list[dict[str, object]] = json.loads(candidates("--json", *words).stdout)
    return told


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    tifffile.imwrite(tmp_path / "scan.tif", numpy.zeros((3, 16, 24), "u2"), photometric="minisblack")
    return tmp_path / "scan.tif"


def test_a_file_alone(scan: Path) -> None:
    (told,) = facts(scan.parent)
    assert told["main"] == str(scan) and told["files"] == [str(scan)] and told["format"] == "TIFF"
    (image,) = told["images"]  # type: ignore[misc]
    assert (image["size_x"], image["size_y"], image["size_z"], image["pixel_type"]) == (24, 16, 3, "uint16")
    assert "image 0: scan.tif: 24 x 16, Z 3, C 1, T 1, uint16" in candidates(scan).stdout


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").write_text("no image")
    done = candidates(tmp_path)
    assert done.returncode == 0 and "notes.txt: not read" in done.stdout
    done = candidates(tmp_path / "gone")
    assert done.returncode == 1 and "gone: it is not there" in done.stderr


def test_files_that_belong_together(wicked: None, tmp_path: Path) -> None:  # noqa: F811
    run = tmp_path / "run"
    run.mkdir()
    for name in ("a.wicked", "b.wicked", "c.wicked", "other.wicked"):
        deed = "stumble" if name == "other.wicked" else "together a.wicked b.wicked c.wicked"
        (run / name).write_text(f"WICKED {deed}")
    told = facts(run)
    assert [Path(str(one["main"])).name for one in told] == ["a.wicked", "other.wicked"]
    assert told[0]["files"] == [str(run / name) for name in ("a.wicked", "b.wicked", "c.wicked")]
    (run / "b.wicked").unlink()
    assert facts(run)[0]["missing"] == ["b.wicked"]
    assert "missing: b.wicked" in candidates(run).stdout
