"""What code in a reader process, taken over by a file, could say to the importer: it is believed nothing impossible."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.catalog.filesets import record
from repofs.catalog.objects import describe
from repofs.catalog.users import experimenters
from repofs.errors import ReaderFailed
from repofs.formats import exchange
from repofs.image import Appearance
from repofs.importer.lending import InDirectory, OneFile
from repofs.model import ObjectRef
from tests.helpers.catalogue import Import, finished
from tests.helpers.importing import Repository
from tests.helpers.reader_pool import all_busy, deed, made, pool, still_works, tiff

pytestmark = pytest.mark.trio


@pytest.mark.parametrize("name", ["x" * 256, "/".join(["x" * 200] * 21)])
async def test_names_that_no_file_can_have_are_no_fileset(wicked: None, tmp_path: Path, name: str) -> None:
    fd = made(tmp_path / "a.wicked", f"WICKED together a.wicked {name}".encode())
    async with pool() as some:
        with pytest.raises(ReaderFailed, match=r"makes no sense \('x+/?x*' is no file of a fileset\)"):
            await some.look(b"a.wicked", OneFile(b"a.wicked", fd))
    os.close(fd)


async def test_more_channels_than_the_catalogue_is_to_hold(wicked: None, tmp_path: Path) -> None:
    async with pool() as some:
        with pytest.raises(ReaderFailed, match=r"the answer of the reader makes no sense \(1000000 channels\)"):
            await deed(some, tmp_path, "invent")
        await still_works(some, tmp_path)


async def test_a_picture_that_is_none(wicked: None, tmp_path: Path) -> None:
    """Nothing, a script, a PNG of 10^18 pixels, one of none, one that ends in its header."""
    fd = made(tmp_path / "a.wicked", b"WICKED paint")
    async with pool() as some:
        for series in range(5):
            with pytest.raises(ReaderFailed, match="makes no sense \\(a picture that is none\\)"):
                await some.picture(b"a.wicked", OneFile(b"a.wicked", fd), series, Appearance())
        await still_works(some, tmp_path)
    os.close(fd)


async def test_questions_without_end(wicked: None, tmp_path: Path) -> None:
    """A process that asks for all kinds of names, and takes no answer, is given up; no descriptor stays open."""
    (tmp_path / "a.wicked").write_text("WICKED pester")
    directory = os.open(tmp_path, os.O_RDONLY)
    async with pool(timeout_seconds=2.0) as some:
        await still_works(some, tmp_path)
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(ReaderFailed, match="did not finish within 2 s"):
            await some.read(b"a.wicked", InDirectory(b"", directory))
        assert len(os.listdir("/proc/self/fd")) == before - 2  # those of the process
        await still_works(some, tmp_path)
    os.close(directory)


async def test_a_directory_of_too_many_names_is_said_to_be_one(
    wicked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "REQUEST_BYTES", 100)
    (tmp_path / "a.wicked").write_text("WICKED together a.wicked")
    for number in range(50):
        (tmp_path / f"{number}.tif").touch()
    directory = os.open(tmp_path, os.O_RDONLY)
    async with pool() as some:
        with pytest.raises(ReaderFailed, match="more files lie there than can be looked through"):
            await some.read(b"a.wicked", InDirectory(b"", directory))
    os.close(directory)


async def test_a_user_whose_files_hang_keeps_nobody_waiting(wicked: None, tmp_path: Path) -> None:
    fd, good = made(tmp_path / "a.wicked", b"WICKED hang"), made(tmp_path / "good.tif", tiff())
    async with pool(workers=2) as some, trio.open_nursery() as nursery:
        await all_busy(some, tmp_path, 2)
        for _ in range(10):
            nursery.start_soon(some.read, b"a.wicked", OneFile(b"a.wicked", fd), b"mallory")
        await trio.sleep(0.5)
        began = time.monotonic()
        for _ in range(5):
            assert (await some.read(b"good.tif", OneFile(b"good.tif", good), b"bob")).images
        assert time.monotonic() - began < 5.0
        assert len(some.workers) == 3
        nursery.cancel_scope.cancel()
    os.close(fd)
    os.close(good)


async def test_numbers_and_texts_that_no_column_holds(wicked: None, tmp_path: Path) -> None:
    """They come as they are, and the catalogue makes them fit."""
    repository = Repository.make(tmp_path / "repository")
    async with pool() as some:
        found = await deed(some, tmp_path, "exaggerate")
    assert [image.size_y for image in found.images] == [2**64 - 1] * 2
    with repository.engine.begin() as conn:
        ended = finished(conn, Import(experimenters(conn)[0], [b"a.wicked"], found.images))
        told = replace(ended, format=found.format, note=found.note, original_metadata=found.original_metadata)
        record(conn, [told])
        known = describe(conn, ObjectRef("Image", ended.images[0][0]))
    assert (known["size_y"], known["name"]) == (2**63 - 1, "a\N{SYMBOL FOR NULL}b")
