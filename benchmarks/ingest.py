"""From `cp` to `imported`, beside `cp` and a checksum on the bare directory: what an import costs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-r", str(source), str(target)], check=True)


def bare(source: Path, place: Path) -> float:
    """Copy all files of *source*, hash each (SHA-1) and wait for the disk; return the seconds."""
    begin = time.perf_counter()
    _copy(source, place / "ingest")
    for path in sorted((place / "ingest").iterdir()):
        with open(path, "rb") as file:
            hashlib.file_digest(file, "sha1")
    os.sync()
    return time.perf_counter() - begin


def mounted(source: Path, place: Path, round: int) -> float:
    """Copy all files of *source* into the mount and wait until all are imported; return the seconds.

    The settle time is part of it.
    """
    begin = time.perf_counter()
    target = place / f"ingest-{round}"
    _copy(source, target)
    subprocess.run([sys.executable, "-m", "repofs", "wait", str(target)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
