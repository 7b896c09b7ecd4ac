"""Long files through the mount, written in every order: the checksum is always that of what is in them at the end."""

from __future__ import annotations

import hashlib
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import kernel
from tests.helpers.command_line import repofs
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE, ROOT
from tests.helpers.waiting import until

MIB = 1 << 20
SIZE = 48 * MIB  # more than what counts as long


def block(number: int) -> bytes:
    return random.Random(number).randbytes(MIB)


def write_blocks(fd: int, numbers: range) -> None:
    for number in numbers:
        os.pwrite(fd, block(number), number * MIB)


def in_order(fd: int) -> None:
    write_blocks(fd, range(48))


def with_a_new_header(fd: int) -> None:
    write_blocks(fd, range(48))
    os.pwrite(fd, b"the header, at the end", 0)


def within_what_was_hashed(fd: int) -> None:
    write_blocks(fd, range(40))
    os.pwrite(fd, b"another byte", 20 * MIB + 5)
    write_blocks(fd, range(40, 48))


def made_long_first(fd: int) -> None:
    os.ftruncate(fd, SIZE)
    write_blocks(fd, range(48))


def cut_and_written_again(fd: int) -> None:
    write_blocks(fd, range(40))
    os.ftruncate(fd, 10 * MIB)
    for number in range(10, 48):
        os.pwrite(fd, block(1000 + number), number * MIB)


def back_to_front(fd: int) -> None:
    for number in reversed(range(48)):
        os.pwrite(fd, block(number), number * MIB)


@pytest.mark.parametrize(
    "write",
    [in_order, with_a_new_header, within_what_was_hashed, made_long_first, cut_and_written_again, back_to_front],
)
@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR])
def test_the_checksum_is_that_of_what_is_there(drive: Drive, write: Callable[[int], None], flags: int) -> None:
    path = drive.home(ALICE) / f"{write.__name__}-{flags}.bin"

    def make() -> None:
        fd = os.open(path, flags | os.O_CREAT, 0o644)
        write(fd)
        os.close(fd)

    ALICE.do(make)
    drive.wait_imported(path)
    content = path.read_bytes()
    assert len(content) == SIZE
    assert fact(path, "checksum") == f"SHA1-160:{hashlib.sha1(content).hexdigest()}"


def test_a_slow_writer_has_it_hashed_before_the_end(drive: Drive) -> None:
    path = drive.home(ALICE) / "slow.bin"

    def is_open_in_the_importer() -> bool:
        backing = str(drive.backing(path))
        files = (file for pid in kernel.children(drive.pid) for file in Path(f"/proc/{pid}/fd").iterdir())
        return any(os.readlink(file) == backing for file in files)

    with path.open("wb", buffering=0) as file:
        os.chown(path, ALICE.uid, ALICE.gid)
        write_blocks(file.fileno(), range(40))
        until(is_open_in_the_importer, "the importer to begin with it")
        write_blocks(file.fileno(), range(40, 48))
    drive.wait_imported(path)
    [ahead] = re.findall(r"\((\d+) of them hashed while it was written\)", ROOT.do(repofs, "log", path).out)
    assert 0 < int(ahead) <= SIZE
