"""Hostile files, put into a mount by an ordinary user: each is kept or refused with a sentence, others go on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.bombs import BOMBS, ELSEWHERE, REACHING, put
from tests.helpers.drops import described
from tests.helpers.mounting import QUICK, Drive, fact
from tests.helpers.people import ALICE, BOB
from tests.helpers.waiting import until
from tests.mount.test_filesets import pair

SETTINGS = QUICK.replace(
    "[readers]", "missing_seconds = 1\n[readers]\ntimeout_seconds = 20\nmemory_bytes = 536870912\n"
)
BLINK = 1.0  # seconds that a call of somebody else may take, on a busy machine


@pytest.fixture
def made(drive: Drive, request: pytest.FixtureRequest) -> Path:
    place = drive.outside / request.node.name
    place.mkdir()
    place.chmod(0o777)
    return place


@contextmanager
def bob_works(drive: Drive, folder: str) -> Iterator[None]:
    """Let Bob write files all the while: no call of his hangs, and all are imported soon after."""
    home, took, ended = drive.home(BOB) / folder, list[float](), threading.Event()
    BOB.run("mkdir", home)
    names = [home / f"{number}.txt" for number in range(10_000)]

    def work() -> None:
        while not ended.wait(0.1):
            began = time.monotonic()
            names[len(took)].write_text(f"{folder} {len(took)}")
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert max(took) < BLINK
    drive.wait_imported(*names[: len(took) : 20], seconds=5.0)


def settled(path: Path) -> bool:
    return fact(path, "state") in ("imported", "failed")


def test_bombs(drive: Drive, made: Path) -> None:
    """Of each a word is left, in the catalogue or on the file."""
    for name, make in BOMBS.items():
        put(made / name, make())
    names = [drive.home(ALICE) / name / (".zgroup" if (made / name).is_dir() else "") for name in BOMBS]
    with bob_works(drive, "bombs"):
        ALICE.run("cp", "-r", *(made / name for name in BOMBS), drive.home(ALICE))
        until(lambda: all(map(settled, names)), lambda: f"{[one for one in names if not settled(one)]}", 60.0)
    for path in names:
        images = (described(drive, ALICE, fact(path, "fileset")) or {}).get("images") if fact(path, "fileset") else None
        assert images or fact(path, "error"), path


@pytest.mark.parametrize("name", list(REACHING))
def test_an_index_that_names_what_lies_elsewhere(drive: Drive, made: Path, name: str) -> None:
    """No fileset reaches out: the index ends by itself, with a sentence."""
    for number, elsewhere in enumerate(ELSEWHERE):
        folder = made / f"{name}-{number}"
        folder.mkdir()
        (folder / name).write_bytes(REACHING[name](elsewhere))
    ALICE.run("cp", "-r", *made.iterdir(), drive.home(ALICE))
    for number in range(len(ELSEWHERE)):
        path = drive.home(ALICE) / f"{name}-{number}" / name
        until(lambda path=path: settled(path), str(path))
        assert fact(path, "error")


@pytest.mark.parametrize("folder", ["a.zarr", "plain"])
def test_what_is_no_file_in_a_directory(drive: Drive, made: Path, folder: str) -> None:
    """It is left alone, or cannot be made; the file beside it is imported."""
    ALICE.run("mkdir", inside := drive.home(ALICE) / folder)
    ALICE.run("mkfifo", inside / "fifo", check=False)
    ALICE.run("ln", "-s", "/etc/passwd", inside / "link", check=False)
    ALICE.run("mknod", inside / "device", "c", "1", "5", check=False)
    (made / "a.txt").write_text(folder)
    ALICE.run("cp", made / "a.txt", inside)
    drive.wait_imported(inside / "a.txt")
    assert len(drive.originals_at(inside / "a.txt")) == 1
    assert not [name for name in ("fifo", "link", "device") if drive.originals_at(inside / name)]


@pytest.mark.parametrize("name", [b"two\nlines", b"caf\xe9", "\N{SNOWMAN}".encode()])
def test_strange_names_of_files_that_belong_together(drive: Drive, made: Path, name: bytes) -> None:
    header, samples = pair(made, os.fsdecode(name))
    ALICE.run("cp", header, samples, drive.home(ALICE))
    for one in (header, samples):
        drive.wait_imported(drive.home(ALICE) / one.name)
