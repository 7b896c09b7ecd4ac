"""Hashing a file while it is written: what is done by its end counts only for a file written in order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from repofs.importer import ahead as ahead_module
from repofs.importer.ahead import Ahead
from repofs.importer.bringing import Bringing
from repofs.repository.checksum import Checksum
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources

pytestmark = pytest.mark.trio

SHA1 = "SHA1-160"
PART = bytes(range(256)) * 20_000


def sha1(content: bytes) -> str:
    return f"{SHA1}:{hashlib.sha1(content).hexdigest()}"


@asynccontextmanager
async def running(most: int = 4) -> AsyncIterator[Ahead]:
    ahead = Ahead(SHA1, most)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ahead.run)
        yield ahead
        nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "scan.tif"
    path.write_bytes(PART)
    return path


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not true():  # noqa: ASYNC110 - it tells nobody
            await trio.sleep(0.01)


def hashed(ahead: Ahead, path: Path) -> int:
    """Return how many bytes of *path* are hashed; -1 when it is not hashed ahead."""
    status = path.stat()
    growing = ahead._growing.get((status.st_dev, status.st_ino))
    return -1 if growing is None else growing.checksum.offset


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(PART)


def taken(ahead: Ahead, path: Path, algorithm: str = SHA1) -> Checksum | None:
    with path.open("rb") as file:
        return ahead.take(file.fileno(), algorithm)


async def test_a_file_is_hashed_as_it_grows(path: Path) -> None:
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        await until(lambda: hashed(ahead, path) == len(PART))
        append(path)
        await until(lambda: hashed(ahead, path) == 2 * len(PART))
        append(path)
        begun = taken(ahead, path)
        assert begun is not None and begun.offset >= 2 * len(PART)
        with path.open("rb") as file:
            begun.read_on(file.fileno())
        assert str(begun) == sha1(3 * PART)
        assert taken(ahead, path) is None, "it is taken once"


async def test_a_large_file_has_its_turns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "STEP_BYTES", 1000)
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        await until(lambda: hashed(ahead, path) >= 2000)
        begun = taken(ahead, path)
        assert begun is not None and begun.offset < len(PART)


async def test_another_algorithm_begins_anew(path: Path) -> None:
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        assert taken(ahead, path, "MD5-128") is None
        assert hashed(ahead, path) == -1


async def test_no_more_than_so_many_at_a_time_and_each_once(path: Path) -> None:
    other = path.with_name("other.tif")
    other.write_bytes(PART)
    async with running(most=1) as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        ahead.grows(os.open(path, os.O_RDONLY))
        ahead.grows(os.open(other, os.O_RDONLY))
        assert hashed(ahead, other) == -1
        assert taken(ahead, path) is not None
        ahead.grows(os.open(other, os.O_RDONLY))
        await until(lambda: hashed(ahead, other) == len(PART))


async def test_a_removed_file_is_let_go(path: Path) -> None:
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        await until(lambda: hashed(ahead, path) == len(PART))
        os.unlink(path)
        await until(lambda: not ahead._growing)


async def test_one_that_grows_no_more_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead_module, "IDLE_SECONDS", 0.3)
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_RDONLY))
        await until(lambda: hashed(ahead, path) == len(PART))
        await until(lambda: hashed(ahead, path) == -1)


async def test_one_that_cannot_be_read_is_let_go(path: Path) -> None:
    async with running() as ahead:
        ahead.grows(os.open(path, os.O_WRONLY))
        await until(lambda: hashed(ahead, path) == -1)
        assert taken(ahead, path) is None


async def test_what_was_hashed_ahead_counts_only_in_order(path: Path, tmp_path: Path) -> None:
    """A file that was written over is hashed whole: what was hashed of it before is another's."""
    async with running() as ahead:
        bringing = Bringing(Marks(b"key"), Sources((), tmp_path), "", ahead=ahead)

        async def brought(*, in_order: bool) -> str:
            ahead.grows(os.open(path, os.O_RDONLY))
            await until(lambda: hashed(ahead, path) == path.stat().st_size)
            with path.open("r+b") as file:  # behind the mount, or why it is not in order
                file.write(b"other")
            with path.open("rb") as file:
                return bringing.bring(file.fileno(), SHA1, in_order=in_order).checksum

        assert await brought(in_order=False) == sha1(b"other" + PART[5:])
        with path.open("wb") as file:
            file.write(PART)
        assert await brought(in_order=True) == sha1(PART), "without this the line above could not fail"
