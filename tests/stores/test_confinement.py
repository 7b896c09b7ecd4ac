"""The filter of reader processes: its numbers are the kernel's, and it judges as it says."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from pathlib import Path

import pytest

from repofs.confinement import landlock, seccomp
from repofs.confinement.seccomp import More

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
GENERIC_NAMES = {"newfstatat": "fstatat"}
ALLOW, DENY, END = 0x7FFF_0000, 0x0005_0000 | errno.EPERM, 0x8000_0000
PID = 4321


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_the_kernels(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed: apt-get install linux-libc-dev")
    known = dict(re.findall(r"^#define __NR(?:3264)?_(\w+) (\d+)", HEADERS[machine].read_text(), re.MULTILINE))
    index = list(HEADERS).index(machine)
    special = {
        name: getattr(seccomp, f"_{name.upper()}") for name in ("fcntl", "ioctl", "clone", "clone3", "kill", "tgkill")
    }
    special |= {"prlimit64": seccomp._PRLIMIT, "seccomp": seccomp._SECCOMP}
    special |= {"openat": seccomp._OPENAT, "socket": seccomp.NETWORK.rules[1].numbers}
    more = {**seccomp.READING.calls, **seccomp.WRITING.calls, **seccomp.NETWORK.calls}
    for name, numbers in {**seccomp.ALLOWED, **more, **special}.items():
        found = known.get(name) or known.get(GENERIC_NAMES.get(name, ""))
        assert numbers[index] == (None if found is None else int(found)), name


def judged(arch: int, number: int, *arguments: int, machine: int = 0, more: More = seccomp.NOTHING) -> int:
    """Return what the filter answers to a call, as the kernel runs it."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("<HBBI", seccomp.program(machine, PID, more)))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return int(value)
        else:
            at += if_true if (accumulator == value if code == 0x15 else accumulator & value) else if_false


@pytest.mark.parametrize(("machine", "arch"), [(0, 0xC000_003E), (1, 0xC000_00B7)])
def test_what_is_listed_is_allowed_and_nothing_else(machine: int, arch: int) -> None:
    listed = {numbers[machine] for numbers in seccomp.ALLOWED.values()}
    special = {rule.numbers[machine] for rule in seccomp.rules(PID)} | {435}
    for number in range(600):
        if number not in special:
            assert judged(arch, number, machine=machine) == (ALLOW if number in listed else DENY), number
    for rule in seccomp.rules(PID):
        other = [0] * rule.argument
        assert judged(arch, rule.numbers[machine], *other, rule.values[0], machine=machine) == ALLOW
        assert judged(arch, rule.numbers[machine], *other, 0x7F00_0000, machine=machine) == DENY
    assert judged(arch, 435, machine=machine) == 0x0005_0000 | errno.ENOSYS


@pytest.mark.parametrize(("machine", "arch", "openat"), [(0, 0xC000_003E, 257), (1, 0xC000_00B7, 56)])
def test_who_reads_opens_nothing_for_writing(machine: int, arch: int, openat: int) -> None:
    flags = {os.O_RDONLY: ALLOW, os.O_NOFOLLOW | os.O_CLOEXEC: ALLOW} | dict.fromkeys(
        (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC), DENY
    )
    for flag, answer in flags.items():
        for more in (seccomp.READING, seccomp.NETWORK):
            assert judged(arch, openat, 3, 0x1000, flag, machine=machine, more=more) == answer
        assert judged(arch, openat, 3, 0x1000, flag, machine=machine, more=seccomp.WRITING) == ALLOW
        assert judged(arch, openat, 3, 0x1000, flag, machine=machine) == DENY


def test_who_asks_a_store_has_sockets_of_the_internet_only() -> None:
    families = {socket.AF_INET: ALLOW, socket.AF_INET6: ALLOW, socket.AF_UNIX: DENY, socket.AF_PACKET: DENY}
    for family, answer in families.items():
        assert judged(0xC000_003E, 41, family, socket.SOCK_STREAM, more=seccomp.NETWORK) == answer
        assert judged(0xC000_003E, 41, family, socket.SOCK_STREAM, more=seccomp.READING) == DENY


def test_other_architectures_and_their_numbers() -> None:
    assert judged(0x4000_0003, 1) == END  # i386
    assert judged(0xC000_003E, 0x4000_0000) == DENY  # read of x32


def test_landlock_is_used_as_far_as_the_kernel_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [len(landlock.ruleset(version)) // 8 for version in range(1, 9)] == [1, 1, 1, 2, 2, 3, 3, 3]
    files = [struct.unpack_from("=Q", landlock.ruleset(version))[0].bit_length() for version in range(1, 8)]
    assert files == [13, 14, 15, 15, 16, 16, 16]
    monkeypatch.setattr(landlock, "version", lambda: 0)
    landlock.confine()  # does nothing
    os.close(os.open("/", os.O_RDONLY))
