"""Hostile files in the real, confined processes: what they cost, and that each ends in a sentence or an image."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from repofs.errors import ReaderFailed
from repofs.image import Members
from repofs.importer.lending import InDirectory
from repofs.importer.readers import Readers
from tests.helpers.bombs import BOMBS, ELSEWHERE, REACHING, put
from tests.helpers.reader_pool import pids, pool, still_works

pytestmark = pytest.mark.trio

MEMORY = 512 << 20  # bytes
SECONDS = 20.0


def most_memory(pid: int) -> int:
    """Return the most bytes of memory that the process has had."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


async def told(some: Readers, directory: int, name: str) -> str | None:
    """Return the note on a file, and have its pictures made; or why the readers gave up."""
    files, asked = InDirectory(b"", directory), os.fsencode(name)
    try:
        found = None if name.endswith("/") else await some.look(asked, files)
        if found is None or isinstance(found, Members):
            found = await some.read(asked, files)
    except ReaderFailed as failed:
        return failed.message
    assert found.images or found.note
    for image in found.images[:2]:
        try:
            await some.picture(asked, files, image.series, image.appearance)
        except ReaderFailed as failed:
            assert failed.message
    return found.note


async def test_a_bomb_costs_no_more_than_is_allowed(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    async with pool(timeout_seconds=SECONDS, memory_bytes=MEMORY) as some:
        await still_works(some, tmp_path)
        [pid] = pids(some)
        least = most_memory(pid)
        for name, made in BOMBS.items():
            put(tmp_path / name, made())
            before = time.monotonic()
            await told(some, directory, name + "/" * (tmp_path / name).is_dir())
            assert time.monotonic() - before < 2 * SECONDS, name
            [pid] = pids(some)
            assert most_memory(pid) < least + MEMORY, name
        await still_works(some, tmp_path)
    os.close(directory)


@pytest.mark.parametrize("name", list(REACHING))
async def test_names_that_lead_elsewhere_open_nothing(tmp_path: Path, name: str) -> None:
    """The file that is meant is there: nothing of it is read, and it is in no fileset."""
    place = tmp_path / "mallory" / "drop"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.tif").write_bytes(b"secret")
    place.mkdir(parents=True)
    directory = os.open(place, os.O_RDONLY)
    async with pool() as some:
        for elsewhere in ELSEWHERE:
            (place / name).write_bytes(REACHING[name](elsewhere))
            found = await found_members(some, directory, name)
            assert found is None or not any({"..", "other", "etc"} & set(one.split("/")) for one in found.names)
            assert await told(some, directory, name), elsewhere
    os.close(directory)


async def found_members(some: Readers, directory: int, name: str) -> Members | None:
    try:
        found = await some.look(os.fsencode(name), InDirectory(b"", directory))
    except ReaderFailed:
        return None
    return found if isinstance(found, Members) else None
