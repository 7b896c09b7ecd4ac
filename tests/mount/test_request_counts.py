"""What the kernel asks the daemon for, once it has what it keeps: exactly what the page on benchmarks promises.

The kernel itself counts, by name, so neither other mounts nor the daemon's own work is among it.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kernel
from repofs.fuse import native
from tests.helpers.drops import drop
from tests.helpers.mounting import CHECKOUT, PASSTHROUGH, Drive
from tests.helpers.people import ALICE

FILES = 20  # in each of two directories
READ = "open, read 4 KiB and close of an original that was read before"
if PASSTHROUGH == "always":
    READ = "the same of one that the kernel reads by itself, of 256 KiB or more"
SAME = "" if native is not None else "without the native module: "

pytestmark = pytest.mark.usefixtures("kernel_keeps")


@pytest.fixture(autouse=True)
def _counting_is_possible() -> None:
    if not kernel.can_count():
        pytest.skip("this kernel does not tell of each request: it takes tracefs and Linux 6.11")


@pytest.fixture(scope="module")
def originals(module_drive: Drive) -> Path:
    """A directory of originals, with one below it."""
    top = module_drive.home(ALICE) / "originals"
    paths = []
    ALICE.do(os.mkdir, top.with_name("written"))
    for directory in (top, top / "below"):
        ALICE.do(os.mkdir, directory)
        paths += [drop(ALICE, directory / f"{number}.bin") for number in range(FILES)]
    module_drive.wait_imported(*paths)
    return top


def stat(originals: Path) -> None:
    os.stat(originals / "0.bin")


def read(originals: Path) -> None:
    with open(originals / "0.bin", "rb", buffering=0) as file:
        file.read(4096)


def write(originals: Path) -> None:
    name = originals.with_name("written") / f".{time.monotonic_ns()}.txt"  # nor is it imported
    with open(name, "xb", buffering=0) as file:
        for _ in range(4):
            file.write(bytes(4096))


def list_all(originals: Path) -> None:
    subprocess.run(["ls", "-lR", originals], check=True, stdout=subprocess.DEVNULL)


def documented(what: str) -> dict[str, int]:
    """Return the requests that the page's table names in the line of *what*: ``OPEN 1, FLUSH 1``."""
    page = (CHECKOUT / "docs" / "benchmarks.md").read_text()
    [told] = re.findall(rf"^\| {re.escape(what)} \| (.*) \|$", page, re.MULTILINE)
    return {name: int(times) for name, times in re.findall(r"([A-Z]+) (\d+)", told)}


@pytest.mark.parametrize(
    ("what", "work"),
    [
        ("`stat` of a name that was looked at before", stat),
        (f"{SAME}{READ}", read),
        (f"{SAME}make a file, write to it four times and close it", write),
        (f"{SAME}a second `ls -lR` of two directories of 20 files", list_all),
    ],
)
def test_the_kernel_asks_for_what_is_documented(
    drive: Drive, originals: Path, what: str, work: Callable[[Path], None]
) -> None:
    for _ in range(2):
        ALICE.do(work, originals)
    with kernel.requests(drive.mountpoint) as asked:
        ALICE.do(work, originals)
        kernel.wait_idle(drive.pid)  # RELEASE comes after close
    assert asked == documented(what)


def test_after_dropping_the_cache_it_asks_again(drive: Drive, originals: Path) -> None:
    """Without this the tests above could not fail: the kernel counts, and forgets all of a mount when it is told to."""
    ALICE.do(read, originals)
    kernel.drop_cache(drive.mountpoint)
    with kernel.requests(drive.mountpoint) as asked:
        ALICE.do(read, originals)
        kernel.wait_idle(drive.pid)
    assert asked["LOOKUP"] == 3  # the user directory, the directory, the file
    assert asked["READ"] == (PASSTHROUGH != "always")
