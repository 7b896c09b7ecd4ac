"""Deeds on their way out of the mount: counted together, bounded, in order, and never lost to a process that dies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
import structlog.testing
import trio
import trio.testing

from repofs.deeds import Deed
from repofs.errors import Busy
from repofs.model import ObjectRef
from repofs.namespace import trail as trail_module
from repofs.namespace.trail import BATCH, DONE, GATHER_SECONDS, REFUSED, Tally, Trail

ALICE, BOB, EVE = 5001, 5002, 5003
SECOND = 1_000_000_000
NOT_YOURS = "eve may not remove this: it is another user's, in a private group"


def refusal(uid: int, path: bytes, at: float = 0, act: str = "remove") -> Deed:
    return Deed(int(at * SECOND), uid, act, path=path, refusal=NOT_YOURS)


def deed(uid: int, path: bytes, at: float = 0, act: str = "remove") -> Deed:
    return Deed(int(at * SECOND), uid, act, path=path)


def told(tally: Tally, *deeds: Deed, now: float = 1) -> list[Deed]:
    for one in deeds:
        tally.note(one)
    return tally.take(int(now * SECOND))


# --- counting --------------------------------------------------------------------------------------


def test_each_deed_is_told_in_order() -> None:
    deeds = [deed(ALICE, b"a/2", 0.1), deed(BOB, b"b/1", 0.2), refusal(ALICE, b"b/1", 0.3), deed(ALICE, b"a/1", 0.4)]
    tally = Tally()
    assert told(tally, *deeds) == deeds
    assert told(tally) == []


def test_the_same_again_is_counted() -> None:
    [one] = told(Tally(), *[deed(ALICE, b"a/1", at / 10) for at in range(5)])
    assert (one.time_ns, one.path, one.times) == (0, b"a/1", 5)


def test_refusals_in_one_directory_are_counted_together() -> None:
    first, second = told(Tally(), *[refusal(EVE, b"a/P/%d" % n) for n in range(7)], refusal(EVE, b"a/Q/1"))
    assert (first.path, first.times, first.refusal) == (b"a/P/", 7, NOT_YOURS)
    assert (second.path, second.times) == (b"a/Q/1", 1)


def test_what_was_done_is_told_file_by_file() -> None:
    assert len(told(Tally(), *[deed(ALICE, b"a/%d" % n) for n in range(1000)])) == 1000


@pytest.mark.parametrize(
    "other",
    [
        refusal(BOB, b"a/1"),
        refusal(EVE, b"a/1", act="rename"),
        refusal(EVE, b"b/1"),
        Deed(0, EVE, "remove", path=b"a/1", refusal="another reason"),
        Deed(0, EVE, "remove", "Fileset:1", b"a/1", NOT_YOURS),
        Deed(0, EVE, "remove", None, None, NOT_YOURS),
        deed(EVE, b"a/1"),
        Deed(0, EVE, "remove", path=b"a/1", detail={"to": "a/2"}),
    ],
)
def test_what_differs_is_told_apart(other: Deed) -> None:
    one = refusal(EVE, b"a/1")
    assert told(Tally(), one, other) == [one, other]


def test_a_flood_of_refusals_costs_a_bounded_number_of_lines() -> None:
    tally = Tally()
    flood = [refusal(EVE, b"alice_2/P%d/scan.tif" % n) for n in range(10_000)]
    lines = told(tally, *flood)
    assert lines[:-1] == flood[: REFUSED.at_once]
    rest = lines[-1]
    assert (rest.actor_uid, rest.act, rest.path) == (EVE, "remove", b"alice_2/")
    assert (rest.times, rest.refusal) == (9950, "and 9,950 more refusals")
    for second in range(1, 5):
        lines = told(tally, *[refusal(EVE, one.path or b"", second) for one in flood], now=second + 1)
        assert len(lines) == REFUSED.a_second + 1
        assert sum(one.times for one in lines) == 10_000


def test_one_more_refusal_than_the_allowance() -> None:
    [*_, rest] = told(Tally(), *[refusal(EVE, b"%d/x" % n) for n in range(REFUSED.at_once + 1)])
    assert (rest.refusal, rest.path, rest.object) == ("and 1 more refusal", b"50/x", None)


def test_one_users_flood_leaves_the_others_their_lines() -> None:
    tally = Tally()
    for n in range(20_000):
        tally.note(refusal(EVE, b"%d/x" % n))
        tally.note(deed(EVE, b"eve/%d" % n))
    mine = [deed(ALICE, b"a/1"), refusal(ALICE, b"b/1"), deed(BOB, b"b/2")]
    lines = told(tally, *mine)
    assert lines[-3:] == mine
    assert sum(one.times for one in lines) == 40_003
    assert len(lines) == REFUSED.at_once + DONE.at_once + 2 + 3


def test_refusals_of_many_users_leave_room_for_what_was_done() -> None:
    tally = Tally()
    for uid in range(REFUSED.together // REFUSED.at_once + 100):
        for n in range(REFUSED.at_once):
            tally.note(refusal(100_000 + uid, b"%d/x" % n))
    mine = [deed(ALICE, b"a/%d" % n) for n in range(100)]
    lines = told(tally, *mine)
    assert lines[-100:] == mine
    assert len(lines) == REFUSED.together + 100 + 100  # a line for each of the hundred, besides


def test_the_allowance_comes_back_with_time_but_not_while_deeds_wait() -> None:
    tally = Tally()
    for second in range(100):
        for n in range(100):
            tally.note(refusal(EVE, b"%d/%d/x" % (second, n), second))
    assert len(tally) == REFUSED.at_once + 1
    tally.take(100 * SECOND)
    later = [refusal(EVE, b"%d/x" % n, 101) for n in range(REFUSED.at_once)]
    assert told(tally, *later, now=102) == later


def test_it_comes_back_to_who_was_silent_for_long() -> None:
    tally = Tally()
    told(tally, *[refusal(EVE, b"%d/x" % n) for n in range(100)])
    later = [refusal(EVE, b"%d/x" % n, 3600) for n in range(REFUSED.at_once)]
    assert told(tally, *later, now=3601) == later


def test_a_clock_that_is_set_back_costs_nothing_but_time() -> None:
    tally = Tally()
    told(tally, *[refusal(EVE, b"%d/x" % n, 1000) for n in range(100)], now=1001)
    assert len(told(tally, *[refusal(EVE, b"%d/x" % n, 5) for n in range(100)], now=6)) == REFUSED.a_second + 1
    assert len(told(tally, *[refusal(EVE, b"%d/x" % n, 8) for n in range(100)], now=9)) == 3 * REFUSED.a_second + 1


@pytest.mark.parametrize(
    ("paths", "where"),
    [
        ([b"a/P/1", b"a/P/2"], b"a/P/"),
        ([b"a/P1/x", b"a/P2/x"], b"a/"),
        ([b"a/P", b"a/P/x"], b"a/"),
        ([b"a/P/1", b"a/P/2", b"a/Q/1"], b"a/"),
        ([b"a/1", b"b/1"], b""),
        ([b"a/1", b"a/1"], b"a/1"),
        ([b"a/\xff/1\n", b"a/\xff/2"], b"a/\xff/"),
        ([b"a/1", None], None),
        ([None, None], None),
    ],
)
def test_several_are_told_by_the_directory_that_all_lie_in(
    monkeypatch: pytest.MonkeyPatch, paths: list[bytes | None], where: bytes | None
) -> None:
    monkeypatch.setattr(trail_module, "DONE", DONE._replace(at_once=0))
    [one] = told(Tally(), *[Deed(0, ALICE, "remove", path=path) for path in paths])
    assert (one.path, one.times) == (where, len(paths))


# --- on the way ------------------------------------------------------------------------------------


class FakeImporter:
    """Takes deeds in, unless it is not ready, or slow."""

    def __init__(self) -> None:
        self.batches: list[list[Deed]] = []
        self.ready = True
        self.may_answer = trio.Event()
        self.may_answer.set()

    async def send(self, deeds: Sequence[Deed]) -> None:
        if not self.ready:
            raise Busy("the importer has just been restarted")
        await self.may_answer.wait()
        self.batches.append(list(deeds))

    @property
    def paths(self) -> list[bytes | None]:
        return [deed.path for batch in self.batches for deed in batch]


@pytest.fixture
def importer() -> FakeImporter:
    return FakeImporter()


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines  # type: ignore[misc]


@asynccontextmanager
async def running(importer: FakeImporter) -> AsyncIterator[Trail]:
    trail = Trail(lambda: int(trio.current_time() * SECOND))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trail.run, importer.send)
        yield trail
        nursery.cancel_scope.cancel()


async def after(seconds: float) -> None:
    await trio.sleep(seconds)
    await trio.testing.wait_all_tasks_blocked()


@pytest.mark.trio
async def test_a_deed_is_handed_over_and_logged_within_a_second(
    autojump_clock: trio.abc.Clock, importer: FakeImporter, logged: list[dict[str, object]]
) -> None:
    async with running(importer) as trail:
        began = int(trio.current_time() * SECOND)
        trail.done(ALICE, "rename", target=ObjectRef("Fileset", 17), path=b"a/1", to="a/2")
        trail.refused(EVE, "remove", NOT_YOURS, path=b"a/1")
        await after(GATHER_SECONDS / 2)
        assert importer.batches == []
        await after(GATHER_SECONDS)
        assert importer.batches == [
            [
                Deed(began, ALICE, "rename", "Fileset:17", b"a/1", None, {"to": "a/2"}),
                Deed(began, EVE, "remove", None, b"a/1", NOT_YOURS),
            ]
        ]
    assert [(line["event"], line["log_level"], line["actor_uid"], line["act"]) for line in logged] == [
        ("audit", "info", ALICE, "rename"),
        ("audit", "info", EVE, "remove"),
    ]
    assert logged[0]["target"] == "Fileset:17"
    assert logged[0]["detail"] == {"to": "a/2"}
    assert (logged[1]["path"], logged[1]["refusal"], logged[1]["times"]) == ("a/1", NOT_YOURS, 1)


@pytest.mark.trio
async def test_hostile_names_make_no_line_of_their_own(
    autojump_clock: trio.abc.Clock, importer: FakeImporter, capsys: pytest.CaptureFixture[str]
) -> None:
    name = b'alice_2/\xff\n{"event": "audit"}\x1b[2J'
    structlog.configure(processors=[structlog.processors.JSONRenderer()])
    try:
        async with running(importer) as trail:
            trail.refused(EVE, "remove", "no \udcff\n", path=name)
            trail.done(EVE, "rename", path=name + b"/" + b"x" * 5000, to="\ud800" + "y" * 5000)
            await after(2 * GATHER_SECONDS)
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["audit", "audit"]
    assert lines[0]["path"].encode(errors="surrogateescape") == name
    [[refused, done]] = importer.batches
    assert (refused.path, refused.refusal) == (name, "no \\udcff\n")
    assert len(done.path or b"") == 4096
    assert 1000 <= len(done.detail["to"].encode()) <= 1010


@pytest.mark.trio
async def test_what_nobody_can_take_waits_and_keeps_its_order(
    autojump_clock: trio.abc.Clock, importer: FakeImporter
) -> None:
    async with running(importer) as trail:
        importer.ready = False
        for n in range(5):
            trail.done(ALICE, "remove", path=b"a/%d" % n)
            await after(GATHER_SECONDS)
        importer.ready = True
        await after(2 * GATHER_SECONDS)
        assert importer.paths == [b"a/%d" % n for n in range(5)]


@pytest.mark.trio
async def test_many_go_in_batches(autojump_clock: trio.abc.Clock, importer: FakeImporter) -> None:
    async with running(importer) as trail:
        for n in range(BATCH + 1):
            trail.done(ALICE, "remove", path=b"a/%d" % n)
        await after(2 * GATHER_SECONDS)
        assert [len(batch) for batch in importer.batches] == [BATCH, 1]
        assert importer.paths == [b"a/%d" % n for n in range(BATCH + 1)]


@pytest.mark.trio
async def test_a_slow_importer_keeps_neither_the_log_nor_anybody_waiting(
    autojump_clock: trio.abc.Clock, importer: FakeImporter, logged: list[dict[str, object]]
) -> None:
    async with running(importer) as trail:
        importer.may_answer = trio.Event()
        for n in range(3):
            trail.done(ALICE, "remove", path=b"a/%d" % n)
            await after(2 * GATHER_SECONDS)
        assert [line["path"] for line in logged] == ["a/0", "a/1", "a/2"]
        assert importer.batches == []
        importer.may_answer.set()
        await after(0)
        assert importer.paths == [b"a/0", b"a/1", b"a/2"]


@pytest.mark.trio
async def test_what_waits_is_bounded_and_still_counted(
    autojump_clock: trio.abc.Clock, importer: FakeImporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trail_module, "OUTBOX", 1000)
    monkeypatch.setattr(trail_module, "DONE", DONE._replace(at_once=100))
    async with running(importer) as trail:
        importer.ready = False
        for second in range(200):
            for n in range(500):
                trail.done(EVE, "remove", path=b"e/%d/%d" % (second, n))
            await after(GATHER_SECONDS)
        trail.done(ALICE, "remove", path=b"a/1")
        importer.ready = True
        await after(3 * GATHER_SECONDS)
    everything = [deed for batch in importer.batches for deed in batch]
    assert len(everything) < 1500
    assert sum(deed.times for deed in everything) == 200 * 500 + 1
    assert everything[-1].path == b"a/1"


@pytest.mark.trio
async def test_at_a_stop_what_is_left_is_handed_over_at_once(
    autojump_clock: trio.abc.Clock, importer: FakeImporter, logged: list[dict[str, object]]
) -> None:
    async with running(importer) as trail:
        began = trio.current_time()
        trail.done(ALICE, "remove", path=b"a/1")
        await trail.flush(importer.send)
        assert importer.paths == [b"a/1"]
        assert trio.current_time() == began
        importer.ready = False
        trail.done(ALICE, "remove", path=b"a/2")
        await trail.flush(importer.send)  # nobody takes it any more: it is in the log
        assert [line["path"] for line in logged] == ["a/1", "a/2"]
