"""The launcher's side of passthrough: one request, one call of the kernel, and nothing stays open."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import passthrough

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The daemon's end and the launcher's."""
    daemon_s, launcher_s = passthrough.pair()
    with daemon_s, launcher_s:
        yield daemon_s, launcher_s


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def send(sock: socket.socket, ended: list[int], *paths: Path | str) -> None:
    fds = [os.open(path, os.O_RDONLY) for path in paths]
    socket.send_fds(sock, [passthrough.request(ended)], fds)
    for fd in fds:
        os.close(fd)


def test_a_refusal_of_the_kernel_s_reaches_who_asks(ends: Ends, tmp_path: Path) -> None:
    before = open_files()
    send(ends[0], [], os.devnull, tmp_path)
    assert passthrough.answer(ends[1])
    with pytest.raises(OSError) as refused:
        passthrough.number(ends[0].recv(passthrough.NUMBER_BYTES))
    assert refused.value.errno == errno.ENOTTY  # that device knows no such call
    assert open_files() == before


def test_numbers_that_have_ended_are_not_answered(ends: Ends) -> None:
    before = open_files()
    send(ends[0], [7, 8], os.devnull)
    assert passthrough.answer(ends[1])
    ends[0].setblocking(False)
    with pytest.raises(BlockingIOError):
        ends[0].recv(passthrough.NUMBER_BYTES)
    assert open_files() == before


def test_a_request_without_a_device_is_nothing(ends: Ends) -> None:
    send(ends[0], [7])
    assert passthrough.answer(ends[1])


def test_a_daemon_that_has_ended_asks_for_nothing(ends: Ends, tmp_path: Path) -> None:
    send(ends[0], [], os.devnull, tmp_path)
    ends[0].close()
    assert passthrough.answer(ends[1])  # its answer reaches nobody
    assert not passthrough.answer(ends[1])


def test_a_launcher_that_has_ended_gives_no_number() -> None:
    with pytest.raises(ConnectionResetError):
        passthrough.number(b"")
