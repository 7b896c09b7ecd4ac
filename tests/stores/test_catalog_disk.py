"""A catalogue whose disk is full, or fails: a commit is whole or not at all, and the next one works if it can."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs.catalog import audit, engine
from repofs.catalog.engine import Engine
from repofs.disk import Disk
from repofs.errors import StoreFailed, StoreFull
from tests.helpers.failing_disk import FailingDisk, failing_disk, is_possible

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount small disks: run the tests as root")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], check=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Engine]:
    engine.create(directory / "catalogue.sqlite")
    made = engine.open_engine(directory / "catalogue.sqlite")
    try:
        yield made
    finally:
        made.dispose()


def write(to: Engine, rows: int = 1, *, note: str = "x" * 2000) -> None:
    with to.begin() as conn:
        for _ in range(rows):
            audit.record(conn, 1000, "tested", None, {"note": note})


def count(of: Engine) -> int:
    with of.begin() as conn:
        return int(conn.exec_driver_sql("SELECT count(*) FROM audit").scalar_one())


def fill(directory: Path) -> Path:
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.parametrize("rows", [1, 2000])  # found out at the commit; while rows are written, the cache being full
def test_a_commit_without_room_is_rolled_back_and_the_next_one_works(small: Path, rows: int) -> None:
    with opened(small) as catalogue:
        write(catalogue)
        before = count(catalogue)
        filler = fill(small)
        for _ in range(3):
            with pytest.raises(StoreFull, match="make room"):
                write(catalogue, rows, note="y" * 20_000)
            assert count(catalogue) == before
        filler.unlink()
        write(catalogue)
        assert count(catalogue) == before + 1
    again = engine.open_engine(small / "catalogue.sqlite")
    assert count(again) == before + 1
    again.dispose()


@pytest.mark.skipif(not is_possible(), reason="there is no zram: load the kernel module with modprobe zram")
def test_a_disk_that_fails_is_told_and_what_was_committed_is_there(tmp_path: Path) -> None:
    with failing_disk(tmp_path / "disk") as disk:
        with opened(disk.mountpoint) as catalogue:
            write(catalogue)
            before = count(catalogue)
            disk.fail()
            with pytest.raises(StoreFailed, match="the catalogue"):
                _write_much(catalogue)
        _check_after_repair(disk, before)


def _write_much(catalogue: Engine) -> None:
    for _ in range(100):
        write(catalogue, note=os.urandom(5000).hex())


def _check_after_repair(disk: FailingDisk, before: int) -> None:
    disk.mend()
    again = engine.open_engine(disk.mountpoint / "catalogue.sqlite")
    assert count(again) >= before
    write(again)
    again.dispose()


def test_a_damaged_catalogue_is_a_failure_of_the_disk(tmp_path: Path) -> None:
    with opened(tmp_path) as catalogue:
        write(catalogue, 50)
    path = tmp_path / "catalogue.sqlite"
    damaged = engine.open_engine(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(StoreFailed, match="malformed"):
        write(damaged)
    damaged.dispose()


def test_nothing_is_written_after_the_end_of_writing(tmp_path: Path) -> None:
    with opened(tmp_path) as catalogue:
        reading = engine.open_engine(tmp_path / "catalogue.sqlite", read_only=True)
        write(catalogue)
        engine.end_writing(catalogue, "the disk has failed")
        with pytest.raises(StoreFailed, match="the disk has failed"):
            write(catalogue)
        assert count(reading)
        reading.dispose()


def test_a_commit_whose_disk_has_gone_meanwhile_is_none_to_rely_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its fsync may have said that all is well."""

    def gone(_: Disk) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with opened(tmp_path) as catalogue:
        write(catalogue)
        reading = engine.open_engine(tmp_path / "catalogue.sqlite", read_only=True)
        with monkeypatch.context() as failing:
            failing.setattr(Disk, "require", gone)
            with pytest.raises(StoreFailed, match="the catalogue: Input/output error"):
                write(catalogue)
            assert count(reading)  # who commits nothing does not ask
        reading.dispose()
