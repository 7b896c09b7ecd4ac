"""The stream of events without a mount: who finds which lines, and what a reader that stays sees."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import trio

from repofs.events import RECENT, News, read_only
from repofs.lifecycle import State
from repofs.model import PermissionLevel
from repofs.namespace import stream as stream_module
from repofs.people import Actor, Home, People
from tests.helpers.namespace import ALICE, World, open_descriptors

HER, MEMBER, STRANGER = 5101, 5102, 5103
LAB = 5000
NEWS = News(
    1, 1, "2026-11-22T21:15:03.123+00:00", State.FAILED, "alice", ALICE.encode(), LAB, HER, b"a.tif", None, None,
    "broken", b"log",
)  # fmt: skip


def people(level: PermissionLevel, uid: int | None = HER) -> People:
    groups = frozenset({LAB})
    return People(
        {one: Actor(one, f"user{one}", groups) for one in (HER, MEMBER)},
        {LAB: level},
        {ALICE.encode(): Home(uid, LAB, groups)},
    )


@pytest.fixture
def lab(w: World) -> World:
    trio.run(w.rights.adopt, people(PermissionLevel.READ_ONLY))
    return w


def news(*numbers: int) -> list[News]:
    return [replace(NEWS, number=number, importing=number) for number in numbers]


def seen(w: World, uid: int) -> list[int]:
    """Return the imports of the lines that *uid* finds when she opens the file."""
    handle = w.stream.open(uid)
    try:
        return lines(handle)
    finally:
        w.stream.close(handle)


def lines(handle: int) -> list[int]:
    text = os.pread(handle, 1 << 24, 0)
    assert len(text) == os.fstat(handle).st_size
    return [int(line.rpartition(b'"import": ')[2].rstrip(b"}")) for line in text.splitlines()]


def test_lines_are_for_who_may_view_the_data(lab: World) -> None:
    lab.stream.hear(news(1, 2))
    assert [seen(lab, uid) for uid in (HER, MEMBER, STRANGER, 0)] == [[1, 2], [1, 2], [], [1, 2]]
    assert lab.stream.size(STRANGER) == 0 < lab.stream.size(HER)


def test_the_rights_of_now_decide(lab: World) -> None:
    lab.stream.hear(news(1))
    staying = lab.stream.open(MEMBER)
    trio.run(lab.rights.adopt, people(PermissionLevel.PRIVATE))
    lab.stream.hear(news(2))
    assert lines(staying) == [1]  # as of a file that is open: what she had, and no more
    lab.stream.close(staying)
    assert (seen(lab, MEMBER), seen(lab, HER)) == ([], [1, 2])


def test_who_has_a_former_users_uid_does_not_see_her_news(lab: World) -> None:
    lab.stream.hear(news(1))
    trio.run(lab.rights.adopt, people(PermissionLevel.PRIVATE, None))
    assert (seen(lab, HER), seen(lab, 0)) == ([], [1])


def test_a_reader_that_stays_sees_it_grow_and_offsets_stay(lab: World) -> None:
    lab.stream.hear(news(1))
    handle = lab.stream.open(HER)
    before = os.pread(handle, 1 << 20, 0)
    lab.stream.hear(news(2, 3))
    assert os.pread(handle, len(before), 0) == before
    assert lines(handle) == [1, 2, 3] and lab.stream.size(HER) == os.fstat(handle).st_size
    again = lab.stream.open(HER)
    lab.stream.close(handle)
    assert lines(again) == [1, 2, 3]
    lab.stream.close(again)


def test_what_is_told_again_is_passed_over(lab: World) -> None:
    lab.stream.hear(news(1, 2))
    lab.stream.hear(news(1, 2, 3))
    lab.stream.hear([])
    assert seen(lab, HER) == [1, 2, 3]


def test_only_the_recent_ones_are_kept(lab: World) -> None:
    lab.stream.hear(news(*range(1, RECENT + 11)))
    assert seen(lab, HER) == list(range(11, RECENT + 11))


def test_a_full_file_is_emptied_and_goes_on(lab: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "MOST_BYTES", 3 * len(NEWS.line()))
    handle = lab.stream.open(HER)
    for number in range(1, 6):
        lab.stream.hear(news(number))
    assert lines(handle) == [4, 5]
    lab.stream.close(handle)


def test_no_descriptor_is_left(lab: World) -> None:
    before = open_descriptors()
    handles = [lab.stream.open(uid) for uid in (HER, HER, MEMBER)]
    for handle in handles:
        lab.stream.close(handle)
    assert open_descriptors() == before


def test_that_the_repository_is_read_only_is_told_to_everybody(lab: World) -> None:
    handle = lab.stream.open(STRANGER)
    lab.stream.hear([NEWS])
    lab.stream.tell(read_only("the disk has failed"))
    lab.stream.hear([NEWS, replace(NEWS, number=2)])  # what has no number takes none away
    [told] = os.pread(handle, 10_000, 0).splitlines()
    facts = json.loads(told)
    assert (facts["event"], facts["error"], facts["user"]) == ("read-only", "the disk has failed", "root")
    assert facts["path"] is facts["source"] is facts["object"] is facts["log"] is facts["import"] is None
    lab.stream.close(handle)
