"""Stores that are not mounted, and originals whose sources have changed where the settings allow to read them."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, Drive, fact, mounted
from tests.helpers.people import ALICE

SETTINGS = QUICK + '\n[in_place]\nserve_altered = true\n[[sources]]\nname = "store"\npath = "@outside@/store"\n'
CONTENT = b"what the microscope saw\n" * 1000


@pytest.fixture
def drive() -> Iterator[Drive]:
    with mounted(SETTINGS) as drive:
        drive.allowed = ["an original in place"]
        (drive.outside / "store").mkdir()
        yield drive


@contextlib.contextmanager
def mounted_at(place: Path, *arguments: str | Path) -> Iterator[None]:
    subprocess.run(["mount", *arguments, place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def linked(drive: Drive, source: Path) -> Path:
    source.write_bytes(CONTENT)
    path = drive.home(ALICE) / source.name
    ALICE.do(os.symlink, source, path)
    drive.wait_imported(path)
    return path


def read(path: Path) -> bytes | int:
    """Return what Alice reads, or the errno."""
    try:
        return ALICE.do(Path.read_bytes, path)
    except OSError as error:
        return error.errno or 0


def test_a_store_that_is_away_is_offline_and_comes_back(drive: Drive) -> None:
    disk, store = drive.outside / "disk", drive.outside / "store"
    disk.mkdir()
    with mounted_at(disk, "-t", "tmpfs", "none"):
        with mounted_at(store, "--bind", disk):
            path = linked(drive, store / "scan.dat")
        assert (read(path), fact(path, "state")) == (errno.EIO, "offline")
        assert path.stat().st_size == len(CONTENT)
        assert "mounted" in str(fact(path, "error"))
        with mounted_at(store, "--bind", disk):
            assert (read(path), fact(path, "state")) == (CONTENT, "imported")
        assert read(path) == errno.EIO


def test_an_altered_source_is_read_where_the_settings_allow_it(drive: Drive) -> None:
    source = drive.outside / "store" / "scan.dat"
    path = linked(drive, source)
    source.write_bytes(b"other bytes" + CONTENT)
    assert (read(path), fact(path, "state")) == ((b"other bytes" + CONTENT)[: len(CONTENT)], "altered")
    source.unlink()
    assert (read(path), fact(path, "state")) == (errno.EIO, "missing")
