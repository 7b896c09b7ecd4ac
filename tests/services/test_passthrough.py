"""Which originals get a number: all opens of an inode agree, and each number ends with the last of them."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from repofs import passthrough as wire
from repofs.namespace.passthrough import IDLE_SECONDS, LEAST_BYTES, Passthrough
from tests.helpers.namespace import World

pytestmark = pytest.mark.trio

CONTENT = b"what the microscope saw\n" * (LEAST_BYTES // 20)


class Launcher:
    """The other end: gives the numbers 1, 2, 3 …, or errors where a test wants them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = trio.socket.from_stdlib_socket(sock)
        self.asked: list[int] = []  # inodes
        self.ended: list[int] = []
        self.errors: list[int] = []  # for the next that ask
        self.answers = trio.Event()
        self.answers.set()
        self.told_end = trio.Event()
        self.scope = trio.CancelScope()
        self.why_not: str | None = None  # what the mount says

    async def run(self) -> None:
        with self.scope:
            await self._run()

    async def _run(self) -> None:
        while True:
            data, ancillary, _, _ = await self.sock.recvmsg(4096, socket.CMSG_SPACE(2 * 4))
            if not data:
                return
            fds = array.array("i", ancillary[0][2])
            self.ended += [number for (number,) in struct.iter_unpack("=i", data) if number]
            if any(data):
                self.told_end.set()
            inodes = [os.fstat(fd).st_ino for fd in fds[1:]]
            for fd in fds:
                os.close(fd)
            self.asked += inodes
            if inodes:
                await self.answers.wait()
                answer = -self.errors.pop() if self.errors else len(self.asked)
                await self.sock.send(struct.pack("=i", answer))


@pytest.fixture
async def launcher(w: World) -> AsyncIterator[Launcher]:
    """The namespace of the test has a device, and this launcher."""
    ours, daemon_s = wire.pair()
    launcher = Launcher(ours)
    with ours, daemon_s:
        device = wire.Device(daemon_s.fileno(), daemon_s)  # any descriptor will do
        w.passthrough = w.handles._passthrough = Passthrough(w.standing, device, lambda: launcher.why_not)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(launcher.run)
            nursery.start_soon(w.passthrough.run)
            yield launcher
            nursery.cancel_scope.cancel()


def original(w: World, path: str, content: bytes = CONTENT) -> None:
    w.write(path, content)
    w.imports(path)


async def opened(w: World, path: str) -> tuple[int, int]:
    """Open *path* and return its handle and its number."""
    fh = w.open(path)
    return fh, await w.handles.pass_through(fh)


async def test_opens_of_one_file_share_a_number(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    original(w, "other.bin")
    (one, number), (two, same), (other, another) = [await opened(w, p) for p in ("scan.bin", "scan.bin", "other.bin")]
    assert (number, same, another) == (1, 1, 2)
    assert launcher.asked == [w.node("scan.bin").ino, w.node("other.bin").ino]
    w.close(one)
    assert w.passthrough.has(w.node("scan.bin"))
    w.close(two)
    w.close(other)
    assert not w.passthrough.has(w.node("scan.bin")) and not launcher.ended


async def test_a_number_is_used_again_soon_and_ends_later(
    w: World, launcher: Launcher, mock_clock: trio.testing.MockClock
) -> None:
    original(w, "scan.bin")
    for _ in range(2):
        fh, number = await opened(w, "scan.bin")
        assert number == 1
        mock_clock.jump(2 * IDLE_SECONDS)
        await trio.testing.wait_all_tasks_blocked()
        w.close(fh)
        await trio.testing.wait_all_tasks_blocked()
    assert len(launcher.asked) == 1 and not launcher.ended
    mock_clock.jump(IDLE_SECONDS)
    await launcher.told_end.wait()
    assert launcher.ended == [1]
    fh, number = await opened(w, "scan.bin")
    assert number == 2
    w.close(fh)


async def test_few_numbers_are_kept(w: World, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repofs.namespace.passthrough.MOST_IDLE", 1)
    for name in ("one.bin", "two.bin"):
        original(w, name)
        w.close((await opened(w, name))[0])
    fh, number = await opened(w, "one.bin")  # its first number goes back with this request
    assert (number, launcher.ended) == (3, [1])
    w.close(fh)


async def test_a_kept_number_is_of_the_same_file_only(w: World, launcher: Launcher, tmp_path: Path) -> None:
    original(w, "scan.bin")
    fh, number = await opened(w, "scan.bin")
    w.close(fh)
    (tmp_path / "another.bin").write_bytes(CONTENT)
    fd = os.open(tmp_path / "another.bin", os.O_RDONLY)  # what stands for the bytes now, of an original in place
    assert await w.passthrough.begin(w.node("scan.bin"), fd, os.fstat(fd)) == 2
    assert launcher.ended == [number]
    w.passthrough.end(w.node("scan.bin"))
    os.close(fd)


async def test_opens_at_the_same_time_wait_for_one_answer(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    launcher.answers = trio.Event()
    found: list[tuple[int, int]] = []

    async def read() -> None:
        found.append(await opened(w, "scan.bin"))

    async with trio.open_nursery() as readers:
        for _ in range(5):
            readers.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        launcher.answers.set()
    assert [number for _, number in found] == [1] * 5 and len(launcher.asked) == 1
    for fh, _ in found:
        w.close(fh)
    assert not w.passthrough.has(w.node("scan.bin"))


async def test_who_gives_up_leaves_no_number_and_no_open_file(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    launcher.answers = trio.Event()
    with trio.move_on_after(0.01):
        await opened(w, "scan.bin")
    assert not w.passthrough.has(w.node("scan.bin")) and len(w.handles) == 0


async def test_a_drop_that_became_an_original_while_open_is_read_by_the_daemon(w: World, launcher: Launcher) -> None:
    w.write("scan.bin", CONTENT)
    early, number = await opened(w, "scan.bin")
    assert number == 0
    w.imports("scan.bin")
    late, number = await opened(w, "scan.bin")
    assert number == 0  # as the one before: the kernel has pages of it
    w.close(early)
    w.close(late)
    fh, number = await opened(w, "scan.bin")
    assert number == 1
    w.close(fh)


async def test_what_is_not_imported_for_good_has_no_number(w: World, launcher: Launcher) -> None:
    w.write("scan.bin", CONTENT)
    drop = w.claim("scan.bin")
    assert drop is not None
    w.original("scan.bin")
    w.forget_all()
    fh, number = await opened(w, "scan.bin")
    assert number == 0 and not launcher.asked
    w.close(fh)
    w.imported(drop)


async def test_small_files_and_writers_have_none(w: World, launcher: Launcher) -> None:
    original(w, "small.bin", CONTENT[: LEAST_BYTES - 1])
    w.write("drop.bin", CONTENT)
    for fh in (w.open("small.bin"), w.open("drop.bin", os.O_RDWR)):
        assert await w.handles.pass_through(fh) == 0
        w.close(fh)
    assert not launcher.asked


async def test_a_file_system_that_refuses_is_told_once_and_asked_no_more(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    assert w.passthrough.report() == {"used": True, "why_not": None}
    launcher.errors = [errno.ELOOP]
    with capture_logs() as logged:
        for _ in range(2):
            fh, number = await opened(w, "scan.bin")
            assert number == 0
            w.close(fh)
    assert len(launcher.asked) == 1
    [line] = logged
    told = w.passthrough.report()
    assert told == {"used": False, "why_not": line["reason"]} and "stacked" in line["reason"]


async def test_a_refusal_that_passes_is_not_kept(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    launcher.errors = [errno.ENOMEM]
    for expected in (0, 2):
        fh, number = await opened(w, "scan.bin")
        assert number == expected
        w.close(fh)
    assert w.passthrough.report()["used"]


async def test_without_a_launcher_any_more_the_daemon_reads(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    launcher.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    launcher.sock.close()
    fh, number = await opened(w, "scan.bin")
    assert number == 0 and await w.handles.read(fh, 0, 4) == CONTENT[:4]
    w.close(fh)


async def test_a_file_that_comes_between_look_up_and_create_is_looked_up_again(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    fh, _ = await opened(w, "scan.bin")
    with pytest.raises(OSError) as refused:
        w.handles.create(*w.place("scan.bin"), 0o644, os.O_RDONLY, w.caller)
    assert refused.value.errno == errno.ESTALE
    w.close(fh)


async def test_where_it_cannot_be_nobody_is_asked(w: World, launcher: Launcher) -> None:
    original(w, "scan.bin")
    launcher.why_not = "it is switched off"
    fh, number = await opened(w, "scan.bin")
    assert number == 0 and not launcher.asked
    assert w.passthrough.report() == {"used": False, "why_not": "it is switched off"}
    w.close(fh)
