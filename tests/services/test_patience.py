"""Stores that do not answer: who waits for one is told, and nobody else waits."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import trio

from repofs.patience import DoesNotAnswer, Patience
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

SHORT = 0.2  # seconds of patience


@pytest.fixture
def answers() -> Iterator[threading.Event]:
    """What lets a store that hangs answer; it does in the end, so that no thread is left."""
    event = threading.Event()
    yield event
    event.set()


async def fails(patience: Patience, store: str, question: object, *arguments: object) -> None:
    with pytest.raises(DoesNotAnswer) as refused, trio.fail_after(30):
        await patience.ask(store, question, *arguments)  # type: ignore[arg-type]
    assert refused.value.errno == errno.EIO and store in refused.value.sentence


async def test_an_answer_and_an_error_come_as_they_are() -> None:
    patience = Patience(30)
    assert await patience.ask("scope", lambda number: number + 1, 41) == 42
    with pytest.raises(FileNotFoundError):
        await patience.ask("scope", os.stat, "/nowhere")
    assert patience.hanging == set()


async def test_who_waits_for_a_store_that_hangs_is_told(answers: threading.Event) -> None:
    patience = Patience(SHORT)
    with structlog.testing.capture_logs() as logged:
        await fails(patience, "scope", answers.wait)
        await fails(patience, "scope", answers.wait)
        assert patience.hanging == {"scope"} and "scope has not answered" in patience.sentences()[0]
        answers.set()
        assert await patience.ask("scope", answers.wait)
    assert [one["event"] for one in logged] == ["a store does not answer", "a store answers again"]
    assert patience.hanging == set()


async def test_as_many_calls_as_there_may_be_hang_and_others_are_answered(answers: threading.Event) -> None:
    patience = Patience(3)  # in which a machine with much to do answers, too
    before = threading.active_count()
    async with trio.open_nursery() as nursery:
        for _ in range(60):
            nursery.start_soon(fails, patience, "scope", answers.wait)
        assert await patience.ask("other", lambda: "here") == "here"
    assert await patience.ask("", lambda: "here") == "here"
    assert threading.active_count() - before <= 17, "16 that hang, and one for the others"


@pytest.mark.parametrize("late", [True, False])
async def test_a_descriptor_that_nobody_waits_for_any_more_is_closed(
    answers: threading.Event, tmp_path: Path, late: bool
) -> None:
    patience, closed = Patience(SHORT if late else 30), threading.Event()

    def opened() -> int:
        if late:
            answers.wait()
        return os.open(tmp_path, os.O_RDONLY)

    def close(fd: int) -> None:
        os.close(fd)
        closed.set()

    if late:
        with pytest.raises(DoesNotAnswer):
            await patience.ask("scope", opened, unwanted=close)
        answers.set()
        await trio.to_thread.run_sync(until, closed.is_set, "closed", 10)
    else:
        os.close(await patience.ask("scope", opened, unwanted=close))
        assert not closed.is_set(), "who asked for it has it"


async def test_reads_are_of_the_store_that_the_descriptor_was_opened_in(
    tmp_path: Path, answers: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    patience = Patience(SHORT)
    outside = patience.opened(os.open(tmp_path / "a", os.O_RDONLY), "scope")
    inside = os.open(tmp_path / "a", os.O_RDONLY)
    pread = os.pread

    def slow(fd: int, size: int, offset: int) -> bytes:
        if fd == outside:
            answers.wait()
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", slow)
    with pytest.raises(DoesNotAnswer, match="source scope"):
        await patience.read(outside, 0, 5)
    assert await patience.read(inside, 1, 4) == b"ytes"
    answers.set()
    patience.close(outside)
    os.close(inside)
