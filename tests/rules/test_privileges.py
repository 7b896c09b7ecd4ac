"""Rights are given up for good, and docs/reference/security.md lists those that are kept, with their reasons."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from repofs import privileges
from repofs.privileges import DAEMON, FORKING, IMPORTER, LAUNCHER
from tests.helpers.people import ROOT

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "security.md"
CLONE_NEWNS = 0x20000

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")


def test_the_page_lists_what_each_process_keeps() -> None:
    kept = {**DAEMON, **LAUNCHER}
    processes = (LAUNCHER, DAEMON, IMPORTER, FORKING)
    wanted = [
        (f"CAP_{one.name}", *("yes" if one in process else "" for process in processes), kept[one])
        for one in sorted(kept)
    ]
    row = r"^\| `(CAP_\w+)` \| " + r"(\w*) ?\| " * len(processes) + r"(.+) \|$"
    rows = re.findall(row, PAGE.read_text(), re.MULTILINE)
    assert rows == wanted


def test_who_is_started_has_nothing_that_the_daemon_has_not() -> None:
    assert IMPORTER.items() <= DAEMON.items()
    assert FORKING.keys() <= DAEMON.keys()


def refusal(name: str, *arguments: int | bytes | None) -> str:
    """Return why the C library's *name* fails, "" when it does not."""
    libc = ctypes.CDLL(None, use_errno=True)
    return "" if libc[name](*arguments) == 0 else os.strerror(ctypes.get_errno())


def as_daemon(act: Callable[[], str]) -> str:
    """Do *act* in a child that has given up what the daemon gives up."""

    def child() -> str:
        privileges.keep(DAEMON)
        return act()

    return ROOT.do(child)


@root_only
def test_the_daemon_cannot_change_what_is_mounted(tmp_path: Path) -> None:
    target = os.fsencode(tmp_path)
    for act in (
        lambda: refusal("mount", b"none", target, b"tmpfs", 0, None),
        lambda: refusal("umount2", b"/proc", 2),
        lambda: refusal("unshare", CLONE_NEWNS),
        lambda: refusal("chroot", target),
        lambda: refusal("setns", os.open("/proc/self/ns/mnt", os.O_RDONLY), CLONE_NEWNS),
    ):
        assert as_daemon(act) == "Operation not permitted"


@root_only
def test_no_program_brings_back_what_was_given_up() -> None:
    def by_a_program() -> str:
        return subprocess.run(["grep", "Cap", "/proc/self/status"], capture_output=True, text=True).stdout

    wanted = f"{sum(1 << one for one in DAEMON):016x}"
    found = dict(line.split(":\t") for line in as_daemon(by_a_program).splitlines())
    assert found == {"CapPrm": wanted, "CapEff": wanted, "CapBnd": wanted, "CapInh": "0" * 16, "CapAmb": "0" * 16}


@root_only
def test_what_is_not_held_is_not_gained() -> None:
    def twice() -> str:
        privileges.keep(LAUNCHER)
        return f"{privileges.capabilities()[1]:x}"

    assert as_daemon(twice) == "0"


def test_a_process_ends_with_its_parent() -> None:
    program = (
        "import os, sys, time\nfrom repofs import privileges\n"
        "if pid := os.fork():\n    os.read(int(sys.argv[1]), 1)\n    os._exit(0)\n"
        "privileges.end_with_parent(15, os.getppid())\nprint(os.getpid(), flush=True)\n"
        "os.write(int(sys.argv[2]), b'.')\ntime.sleep(60)"
    )
    ours, theirs = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(ours), str(theirs)],
        pass_fds=[ours, theirs],
        stdout=subprocess.PIPE,
        text=True,
    )
    told, _ = child.communicate(timeout=30)  # its output ends when the grandchild, which has it too, has ended
    assert int(told)
    os.close(ours)
    os.close(theirs)


def test_a_process_whose_parent_has_ended_already_ends() -> None:
    program = "from repofs import privileges\nprivileges.end_with_parent(15, 1)"
    ended = subprocess.run([sys.executable, "-c", program])
    assert ended.returncode == -signal.SIGTERM
