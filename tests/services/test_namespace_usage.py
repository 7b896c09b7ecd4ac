"""Bytes are counted as they change: after whatever happened the counters say what a look at all files says."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.errors import QuotaExceeded
from repofs.lifecycle import State
from repofs.model import Outcome
from repofs.namespace import walk
from repofs.namespace.backing import RENAME_EXCHANGE
from repofs.namespace.recount import Recount
from repofs.namespace.request import Change
from repofs.quotas import Held
from repofs.repository.marks import ORIGINAL_BIT
from tests.helpers.namespace import ALICE, World, open_descriptors, world

USER = ALICE.encode()


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def limit(w: World, size: int | None, group: int | None = None) -> None:
    """Let alice, or her group, hold so many bytes."""
    gid = os.getegid()
    w.people = replace(
        w.people,
        user_quotas={} if size is None else {USER: size},
        group_quotas={} if group is None else {gid: group},
    )
    w.accounts.adopt(w.people)


def looked(w: World, *unnamed: int) -> tuple[int, int]:
    """Return bytes and number of all drops, each inode once, as the files say; *unnamed* are open and removed."""
    found = [os.lstat(os.path.join(above, name)) for above, _, names in os.walk(w.path("")) for name in names]
    found += [os.fstat(fd) for fd in unnamed]
    sizes = {status.st_ino: status.st_size for status in found if not status.st_mode & ORIGINAL_BIT}
    return sum(sizes.values()), len(sizes)


def counted(w: World) -> tuple[int, int]:
    held = w.accounts.all()
    return sum(one.drops for one in held), sum(one.drop_files for one in held)


def test_what_is_written_counts_and_what_is_removed_does_not(w: World) -> None:
    w.write("a.tif", b"x" * 100)
    fh = w.open("a.tif", os.O_WRONLY)
    w.handles.write(fh, 50, b"y" * 100)  # 50 of them over what was there
    assert counted(w) == (150, 1)
    w.handles.write(fh, 500, b"")
    assert counted(w) == (150, 1)
    w.close(fh)
    w.change("a.tif", Change(size=20))
    assert counted(w) == (20, 1)
    w.link("a.tif", "b.tif")
    w.unlink("a.tif")
    assert counted(w) == (20, 1)
    w.unlink("b.tif")
    assert counted(w) == (0, 0)


def test_a_removed_file_counts_until_its_last_handle_is_closed(w: World) -> None:
    fh = w.create("a.tif")
    w.handles.write(fh, 0, b"x" * 10)
    w.unlink("a.tif")
    w.handles.write(fh, 10, b"x" * 10)
    assert counted(w) == (20, 1)
    w.close(fh)
    assert counted(w) == (0, 0)


def test_no_more_is_written_than_may_be_held(w: World) -> None:
    limit(w, 100)
    fh = w.create("a.tif")
    w.handles.write(fh, 0, b"x" * 60)
    with pytest.raises(QuotaExceeded, match=r"the quota of user \w+ is 100 B") as refused:
        w.handles.write(fh, 60, b"x" * 60)
    assert refused.value.errno == errno.EDQUOT
    assert w.handles.write(fh, 0, b"y" * 100) == 100  # the rest that there is
    w.close(fh)
    assert (counted(w), w.path("a.tif").stat().st_size) == ((100, 1), 100)
    assert w.state("a.tif") is State.INCOMPLETE
    assert "quota" in (w.standing.state(w.node("a.tif")) or ("", ""))[1]  # type: ignore[operator]


@pytest.mark.parametrize("whose", ["user", "group"])
def test_with_nothing_left_no_file_is_made_or_extended(w: World, whose: str) -> None:
    w.write("a.tif", b"x" * 100)
    limit(w, *((100, None) if whose == "user" else (None, 100)))
    with pytest.raises(QuotaExceeded, match=f"of {whose}"):
        w.create("b.tif")
    assert not w.path("b.tif").exists()
    with pytest.raises(QuotaExceeded):
        w.change("a.tif", Change(size=101))
    assert w.path("a.tif").stat().st_size == 100
    w.mkdir("there is room for names")
    w.rename("a.tif", "c.tif")
    w.change("c.tif", Change(size=99))
    w.close(w.create("b.tif"))
    assert counted(w) == (99, 2)


def test_a_quota_below_what_is_held_refuses_only_more(w: World) -> None:
    w.write("a.tif", b"x" * 100)
    limit(w, 10)
    fh = w.open("a.tif", os.O_WRONLY)
    assert w.handles.write(fh, 0, b"y" * 100) == 100
    with pytest.raises(QuotaExceeded):
        w.handles.write(fh, 100, b"y")
    w.close(fh)
    w.change("a.tif", Change(size=50))
    assert counted(w) == (50, 1)


def test_what_failed_to_be_written_does_not_count(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fh = w.create("a.tif")
    whole = os.pwrite

    def half(fd: int, data: memoryview, offset: int) -> int:
        if offset:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(fd, data[:4], offset)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(OSError, match="No space"):
        w.handles.write(fh, 0, b"x" * 10)
    assert counted(w) == (4, 1)
    w.close(fh)


def test_a_truncate_that_fails_does_not_count(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    w.write("a.tif", b"x" * 10)

    def full(*_given: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(os, "truncate", full)
    with pytest.raises(OSError, match="too large"):
        w.change("a.tif", Change(size=1000))
    assert counted(w) == (10, 1)


def test_who_comes_near_her_quota_is_warned_about_once(w: World) -> None:
    limit(w, 1000)
    fh = w.create("a.tif")
    w.handles.write(fh, 0, b"x" * 899)
    assert w.warned == []
    for size in (901, 950):
        w.handles.write(fh, 0, b"x" * size)
    assert len(w.warned) == 1
    w.handles.setattr(w.node("a.tif"), Change(size=700), fh, w.caller)
    w.handles.write(fh, 0, b"x" * 950)
    assert len(w.warned) == 2
    w.close(fh)


def test_an_import_moves_the_bytes_to_the_originals(w: World) -> None:
    w.write("a.tif", b"x" * 10)
    ino = w.node("a.tif").ino
    w.imports("a.tif")
    w.path("a.tif").chmod(0o600 | ORIGINAL_BIT)
    gid = os.getegid()
    w.usage.counted([Held(USER, gid, originals=10, original_files=1), Held(USER, gid, -10, -1)], [ino])
    assert counted(w) == (0, 0)
    w.path("other name").hardlink_to(w.path("a.tif"))  # in its import directory
    w.unlink("a.tif")
    assert [one.originals for one in w.accounts.all()] == [10]
    assert counted(w) == (0, 0)


@pytest.mark.parametrize("state", [State.FAILED, State.SETTLING])
def test_a_drop_that_is_removed_at_the_importer_counts_no_more_when_that_gives_it_back(w: World, state: State) -> None:
    w.write("a.tif", b"x" * 10)
    drop = w.claim("a.tif")
    assert drop is not None
    w.unlink("a.tif")
    assert counted(w) == (10, 1)
    w.claims.outcome(Outcome(drop.token, state))
    assert counted(w) == (0, 0)


def test_what_is_coming_counts_and_is_refused_when_it_is_too_much(w: World) -> None:
    limit(w, 100)
    coming = Held(USER, os.getegid(), coming=60)
    w.usage.come(coming)
    with pytest.raises(QuotaExceeded):
        w.usage.come(coming)
    with pytest.raises(QuotaExceeded):
        w.change("a.tif" if w.write("a.tif", b"x" * 40) else "", Change(size=41))
    w.usage.counted([replace(coming, coming=-60), Held(USER, os.getegid(), originals=60, original_files=1)], [])
    w.usage.began()
    assert w.accounts.user(USER).used == 100
    w.usage.originals_are([Held(USER, os.getegid(), originals=60, original_files=1)])
    assert w.accounts.user(USER).used == 100


def test_what_changes_while_the_originals_are_summed_up_counts_too(w: World) -> None:
    w.usage.began()
    w.usage.counted([Held(USER, 7, originals=5, original_files=1)], [])
    w.usage.originals_are([Held(USER, 7, originals=100, original_files=3)])
    assert w.accounts.all() == [Held(USER, 7, originals=105, original_files=4)]


# --- random deeds ------------------------------------------------------------------------------------


class Deeds:
    """Random operations, each as a program would do it. What is refused as POSIX says is no news."""

    def __init__(self, w: World, seed: int) -> None:
        self.w = w
        self.random = random.Random(seed)
        self.handles: set[int] = set()
        w.mkdir("d")
        w.mkdir("e")

    def name(self) -> str:
        return self.random.choice(["a", "b", "d/a", "d/b", "e/a"])

    def do(self) -> None:
        deed: Callable[[], None] = self.random.choice(
            [self.create, self.create, self.write, self.write, self.write, self.close, self.truncate, self.open,
             self.unlink, self.rename, self.exchange, self.link, self.swap, self.claim]
        )  # fmt: skip
        try:
            deed()
        except OSError as error:
            expected = (errno.ENOENT, errno.EEXIST, errno.EPERM, errno.EBUSY, errno.EDQUOT, errno.EINVAL, errno.ESTALE)
            assert error.errno in expected, error

    def create(self) -> None:
        self.handles.add(self.w.create(self.name()))

    def open(self) -> None:
        flags = self.random.choice([os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_TRUNC])
        self.handles.add(self.w.open(self.name(), flags))

    def write(self) -> None:
        writers = [fh for fh in self.handles if self.w.handles._handles[fh].opener is not None]
        if writers:
            data = b"x" * self.random.randint(0, 300)
            self.w.handles.write(self.random.choice(writers), self.random.randint(0, 500), data)

    def close(self) -> None:
        if self.handles:
            fh = self.random.choice(sorted(self.handles))
            self.handles.remove(fh)
            self.w.close(fh)

    def truncate(self) -> None:
        self.w.change(self.name(), Change(size=self.random.randint(0, 600)))

    def unlink(self) -> None:
        self.w.unlink(self.name())

    def rename(self) -> None:
        self.w.rename(self.name(), self.name())

    def exchange(self) -> None:
        self.w.rename(self.name(), self.name(), RENAME_EXCHANGE)

    def link(self) -> None:
        self.w.link(self.name(), self.name())

    def swap(self) -> None:
        self.w.rename("d", "e", RENAME_EXCHANGE)

    def claim(self) -> None:
        """Import it, or fail; it may be removed meanwhile."""
        name = self.name()
        drop = self.w.claim(name)
        if drop is None:
            return
        node = self.w.node(name)
        if self.random.random() < 0.5:
            status = self.w.path(name).stat()
            self.w.original(name)
            self.w.path(name).chmod(status.st_mode | ORIGINAL_BIT)
            self.w.imported(drop)
            gid = status.st_gid
            self.w.usage.counted([Held(USER, gid, -status.st_size, -1, status.st_size, 1)], [node.ino])
        else:
            if self.random.random() < 0.5:
                self.w.unlink(name)
            self.w.claims.outcome(Outcome(drop.token, State.SETTLING))

    def unnamed(self) -> list[int]:
        return [fh for fh in self.handles if not self.w.handles._handles[fh].node.names]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("quota", [None, 1500])
def test_after_random_deeds_the_counters_say_what_the_files_say(w: World, seed: int, quota: int | None) -> None:
    limit(w, quota)
    deeds = Deeds(w, seed)
    for _ in range(250):
        deeds.do()
        if w.usage.wanted.is_set():  # a drop of two names was removed at the importer
            w.usage.wanted = trio.Event()
            trio.run(Recount(w.standing, w.usage).count)
        assert counted(w) == looked(w, *deeds.unnamed())
        assert quota is None or w.accounts.user(USER).used <= quota
    for fh in deeds.handles:
        w.close(fh)
    assert counted(w) == looked(w)


@pytest.mark.trio
@pytest.mark.parametrize("seed", range(6))
async def test_a_recount_that_runs_meanwhile_finds_the_same(
    w: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "_ENTRIES_A_TURN", 1)
    deeds = Deeds(w, seed)
    for number in range(40):
        deeds.do()
        w.write(f"d/many {number}", b"x" * number)
    w.accounts.drops_are([])  # a crash has left nothing
    done = 0

    async def meanwhile() -> None:
        nonlocal done
        while True:
            deeds.do()
            done += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(meanwhile)
        await trio.lowlevel.checkpoint()
        await Recount(w.standing, w.usage).count()
        nursery.cancel_scope.cancel()
    assert done > 20
    if w.usage.wanted.is_set():
        await Recount(w.standing, w.usage).count()
    assert counted(w) == looked(w, *deeds.unnamed())
    for fh in deeds.handles:
        w.close(fh)


@pytest.mark.parametrize("way", ["made", "opened"])
def test_a_file_that_cannot_be_counted_is_not_left_open(w: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    w.write("old.bin")
    w.node("old.bin")
    before = open_descriptors()
    monkeypatch.setattr(w.drops.usage, "created" if way == "made" else "opened", full)
    with pytest.raises(OSError, match="No space left"):
        w.create("new.bin") if way == "made" else w.open("old.bin", os.O_WRONLY)
    assert open_descriptors() <= before
