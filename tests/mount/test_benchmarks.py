"""`benchmarks/run` measures all that its page promises and leaves nothing behind; how fast does not matter here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from repofs import mounts
from tests.helpers.mounting import CHECKOUT, scratch
from tests.helpers.processes import naming


def run(*arguments: str | Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    command = [CHECKOUT / "benchmarks" / "run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path})


@pytest.mark.timeout(300)
def test_all_of_it_with_tiny_sizes() -> None:
    with scratch() as place:
        done = run("--tiny", "--json", place / "figures.json", "--directory", place)
        assert done.returncode == 0, done.stderr
        told = json.loads((place / "figures.json").read_text())
        assert os.listdir(place) == ["figures.json"]
        assert not [mount for mount in mounts.all_mounts() if str(mount.mountpoint).startswith(str(place))]
        assert not naming(str(place))
    assert len(told["workloads"]) == 13
    for row in told["workloads"]:
        assert row["figures"]["bare"] > 0 < row["figures"]["repofs"]
        assert row["daemon_cpu_us"]["bare"] == 0
    assert {row["grows"] for row in told["growth"]} == {
        "files in a directory",
        "files in the repository",
        "users at a time",
        "originals in the catalogue",
    }
    assert {row["wanted"] for row in told["imports"]} >= {"≤ 1.1", "≥ 2,000", "≤ 2", "< 200"}
    assert "pyfuse3's example is left out" in done.stdout
    assert all(row["workload"] in done.stdout for row in told["workloads"])


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    done = run("--tiny", "--directory", tmp_path / "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert run("--slow").returncode == 2
