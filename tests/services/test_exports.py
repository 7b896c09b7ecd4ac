"""CSV and Parquet files of tables: made once for all who open them, read while they are made, kept within bounds."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from repofs.errors import RepofsError
from repofs.namespace import exports as module
from repofs.namespace.exports import Exports
from repofs.table import Form, Place, Table, TableState
from tests.helpers.namespace import open_descriptors
from tests.helpers.tables import table

pytestmark = pytest.mark.trio

CSV: Form = "csv"
PARQUET: Form = "parquet"
ME = os.getpid()
CELLS = table(9, Place("mount", "", b"alice_2/cells.tiledb"))


class Writer:
    """Writes each table as the bytes of `content`; with `gate`, the second half when that is opened."""

    def __init__(self) -> None:
        self.content = b"image,area\n101,0.5\n"
        self.gate: trio.Event | None = None
        self.refusal: RepofsError | None = None
        self.begun: list[tuple[int, str]] = []
        self.cancelled = 0

    async def export(self, table: Table, form: Form, into: int) -> None:
        self.begun.append((table.id, form))
        half = len(self.content) // 2
        os.write(into, self.content[:half])
        try:
            if self.gate is not None:
                await self.gate.wait()
        except trio.Cancelled:
            self.cancelled += 1
            raise
        if self.refusal is not None:
            raise self.refusal
        os.write(into, self.content[half:])


async def pread(fd: int, offset: int, size: int) -> bytes:
    return os.pread(fd, size, offset)


@pytest.fixture
def writer() -> Writer:
    return Writer()


@pytest.fixture
async def made(tmp_path: Path, writer: Writer, nursery: trio.Nursery) -> AsyncIterator[Exports]:
    """Room for 100 bytes. No descriptor is left behind by any test."""
    before = open_descriptors()
    exports = Exports(tmp_path / "cache", 100, writer.export, pread)
    nursery.start_soon(exports.run)
    yield exports
    exports.close()
    assert open_descriptors() <= before
    assert os.listdir(tmp_path / "cache") == []


async def read(exports: Exports, which: Table = CELLS, form: Form = CSV) -> bytes:
    file = await exports.open(which, form, ME)
    try:
        return bytes(await file.read(0, 1000))
    finally:
        file.close()


async def test_it_is_made_once_and_kept(made: Exports, writer: Writer) -> None:
    assert made.size(CELLS, CSV) == 0
    assert [await read(made), await read(made)] == [writer.content] * 2
    assert made.size(CELLS, CSV) == len(writer.content)
    assert made.size(CELLS, PARQUET) == 0
    assert await read(made, form=PARQUET) == writer.content
    assert writer.begun == [(9, CSV), (9, PARQUET)]


async def test_two_who_open_it_at_once_share_one(made: Exports, writer: Writer) -> None:
    found: list[bytes] = []

    async def one() -> None:
        found.append(await read(made))

    async with trio.open_nursery() as both:
        both.start_soon(one)
        both.start_soon(one)
    assert found == [writer.content] * 2
    assert writer.begun == [(9, CSV)]


async def test_a_csv_is_read_while_it_is_made(made: Exports, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CSV_SECONDS", 0.2)
    writer.gate = trio.Event()
    file = await made.open(CELLS, CSV, ME)
    half = len(writer.content) // 2
    assert await file.read(0, half) == writer.content[:half]
    assert made.size(CELLS, CSV) == 0
    with trio.move_on_after(0.2) as waited:
        await file.read(half, 100)
    assert waited.cancelled_caught
    writer.gate.set()
    assert await file.read(half, 100) == writer.content[half:]
    assert await file.read(len(writer.content), 100) == b""
    file.close()


async def test_a_parquet_is_whole_when_it_is_open(
    made: Exports, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CSV_SECONDS", 0.0)
    writer.gate = trio.Event()
    with trio.move_on_after(0.3) as waited:
        await made.open(CELLS, PARQUET, ME)
    assert waited.cancelled_caught


async def test_one_that_nobody_waits_for_any_more_ends(made: Exports, writer: Writer) -> None:
    writer.gate = trio.Event()
    with trio.move_on_after(0.1):
        await made.open(CELLS, PARQUET, ME)
    await wait_all_tasks_blocked()
    assert writer.cancelled == 1
    writer.gate.set()
    assert await read(made, form=PARQUET) == writer.content  # made anew, to its end
    assert len(writer.begun) == 2


async def test_one_of_two_who_goes_takes_nothing_from_the_other(
    made: Exports, writer: Writer, nursery: trio.Nursery
) -> None:
    writer.gate = trio.Event()
    found: list[bytes] = []

    async def stays() -> None:
        found.append(await read(made, form=PARQUET))

    nursery.start_soon(stays)
    with trio.move_on_after(0.1):
        await made.open(CELLS, PARQUET, ME)
    writer.gate.set()
    await wait_all_tasks_blocked(0.1)
    assert found == [writer.content]
    assert writer.cancelled == 0


async def test_who_is_being_killed_is_answered(made: Exports, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    writer.gate = trio.Event()
    monkeypatch.setattr(module, "is_being_killed", lambda task: task == 4711)
    with pytest.raises(OSError) as interrupted:
        await made.open(CELLS, PARQUET, 4711)
    assert interrupted.value.errno == errno.EINTR


@pytest.mark.parametrize("form", [CSV, PARQUET])
async def test_what_cannot_be_made_is_an_error_to_everybody_and_tried_again(
    made: Exports, writer: Writer, form: Form
) -> None:
    writer.refusal = RepofsError("the array is damaged")
    errors: list[int | None] = []

    async def one() -> None:
        with pytest.raises(RepofsError, match="damaged") as refused:
            await read(made, form=form)
        errors.append(refused.value.errno)

    async with trio.open_nursery() as both:
        both.start_soon(one)
        both.start_soon(one)
    assert errors == [errno.EIO] * 2
    writer.refusal = None
    assert await read(made, form=form) == writer.content
    assert len(writer.begun) == 2


async def test_a_csv_that_breaks_off_is_an_error_to_its_reader(
    made: Exports, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CSV_SECONDS", 0.1)
    writer.gate, writer.refusal = trio.Event(), RepofsError("the store has gone")
    file = await made.open(CELLS, CSV, ME)
    assert await file.read(0, 4) == b"imag"
    writer.gate.set()
    with pytest.raises(RepofsError, match="gone"):
        await file.read(4, 1000)
    file.close()


async def test_the_one_used_longest_ago_gives_way_but_none_that_is_open(made: Exports, writer: Writer) -> None:
    writer.content = b"x" * 40
    a, b, c = (replace(CELLS, id=number) for number in (1, 2, 3))
    held = await made.open(a, CSV, ME)
    for one in (b, c):
        await read(made, one)
    assert [made.size(one, CSV) for one in (a, b, c)] == [40, 0, 40]
    assert await held.read(0, 40) == writer.content
    held.close()
    await read(made, c)
    await read(made, b)
    assert [made.size(one, CSV) for one in (a, b, c)] == [0, 40, 40]


async def test_one_larger_than_all_room_is_served_and_not_kept(made: Exports, writer: Writer) -> None:
    writer.content = b"x" * 200
    assert await read(made) == writer.content
    assert made.size(CELLS, CSV) == 0


async def test_it_is_made_anew_of_another_array_and_of_one_that_has_changed(made: Exports, writer: Writer) -> None:
    await read(made)
    other = replace(CELLS, manifest="another")
    writer.content = b"other"
    assert await read(made, other) == b"other"
    changed = replace(other, state=TableState.CHANGED)
    for content in (b"changed", b"changed again"):  # nobody tells the second
        writer.content = content
        assert await read(made, changed) == content


async def test_nothing_is_kept_of_what_is_registered_no_more(made: Exports, writer: Writer) -> None:
    await read(made)
    held = await made.open(CELLS, CSV, ME)
    made.forget(CELLS, replace(CELLS, rows=4))
    assert made.size(CELLS, CSV) == len(writer.content)
    made.forget(CELLS, None)
    assert made.size(CELLS, CSV) == 0
    assert await held.read(0, 1000) == writer.content
    held.close()


async def test_what_would_fill_the_disk_is_ended(
    made: Exports, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_FREE", 1.1)
    writer.gate = trio.Event()
    with pytest.raises(RepofsError, match="nearly full"):
        await read(made, form=PARQUET)
    assert writer.cancelled == 1
    monkeypatch.setattr(module, "_LEAST_FREE", 0.0)
    writer.gate = None
    assert await read(made, form=PARQUET) == writer.content
