"""How a task ended, as /proc says it: asked of real processes that are dead and not yet waited for."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest

from repofs.namespace.openers import Opener, Openers, killed_by

SIGNALS = [
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGRTMIN,
    signal.SIGRTMIN + 6,
    signal.SIGRTMAX,
]


ODD = b"a) (b\n\xff"  # a command's name may be any


@pytest.fixture
def sleeper() -> Iterator[int]:
    """The pid of a child, of an odd name, that waits for a signal."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        with open("/proc/self/comm", "wb") as comm:
            comm.write(ODD)
        os.close(told)
        while True:
            signal.pause()
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    yield child
    with contextlib.suppress(ProcessLookupError):  # a test has ended it already
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_task_ended_by_a_signal(sleeper: int, number: int) -> None:
    opener = Opener.of(sleeper, 0)
    assert killed_by(opener) is None
    os.kill(sleeper, number)
    os.waitid(os.P_PID, sleeper, os.WEXITED | os.WNOWAIT)
    name = killed_by(opener)
    assert name is not None
    known = number in {one.value for one in signal.Signals}
    assert name == (signal.Signals(number).name if known else f"signal {number}")
    os.waitpid(sleeper, 0)
    assert killed_by(opener) is None
    assert Opener.of(sleeper, 0).command == f"pid {sleeper}"


@pytest.mark.parametrize("code", [0, 1, 130])
def test_a_task_that_ended_by_itself(code: int) -> None:
    child = os.fork()
    if child == 0:
        os._exit(code)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert killed_by(Opener(child, child, 0, "it")) is None
    os.waitpid(child, 0)


def test_a_command_of_any_name(sleeper: int) -> None:
    assert Opener.of(sleeper, 0).command == f"a) (b\n\N{REPLACEMENT CHARACTER} (pid {sleeper})"


def test_who_opens_file_after_file_is_found_out_once(sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    openers, moment = Openers(), 100.0
    monkeypatch.setattr("repofs.namespace.openers.time.monotonic", lambda: moment)
    known = openers.of(sleeper, 0)
    assert openers.of(sleeper, 0) is known
    assert openers.of(sleeper, 7) == replace(known, uid=7), "another user is another opener"
    assert openers.of(os.getpid(), 0).process == os.getpid()
    again = openers.of(sleeper, 0)
    moment += 1.0  # its number may be another's by now
    assert openers.of(sleeper, 0) is not again
