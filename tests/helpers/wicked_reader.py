"""A third party's reader that does what the file says: ``WICKED hang``. It is put into reader processes as an
installed package would be, by an entry point (`tests/services/test_readers.py`)."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from repofs.model import ImageInfo, Recognised


def hang() -> Recognised:
    while True:
        time.sleep(60)


def spin() -> Recognised:
    while True:
        pass


def crash() -> Recognised:
    os.kill(os.getpid(), signal.SIGSEGV)
    return hang()


def leave() -> Recognised:
    os._exit(3)


def bomb() -> Recognised:
    return Recognised(note=str(len(bytearray(1 << 40))))


def fill() -> Recognised:
    pieces = []
    while True:
        pieces.append(bytearray(1 << 20))


def flood() -> Recognised:
    return Recognised(original_metadata={str(n): "x" * 1024 for n in range(10_000)})


def surrogate() -> Recognised:
    return Recognised(images=(ImageInfo("\ud800", 0, 1, 1, 1, 1, 1, "uint8"),))


def stumble() -> Recognised:
    raise ValueError("it has\nno legs")


def lie() -> Recognised:
    socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(b"\x05\0\0\0AAAAA")
    return hang()


def boast() -> Recognised:
    socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(b"\xff\xff\xff\xff")
    return hang()


def confess() -> Recognised:
    """Tell what this process is and may do."""

    def tried(act: Callable[[], object]) -> str:
        try:
            return str(act())
        except OSError as error:
            return type(error).__name__

    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return Recognised(
        original_metadata={
            "descriptors": " ".join(sorted(os.listdir("/proc/self/fd"))),
            "ids": f"{os.getresuid()} {os.getresgid()} {os.getgroups()}",
            "no_new_privs": status["NoNewPrivs"],
            "capabilities": status["CapEff"],
            "shadow": tried(Path("/etc/shadow").read_text),
            "write": tried(lambda: os.write(os.memfd_create("a file"), b"x")),
            "environment": " ".join(sorted(os.environ)),
            "directory": os.getcwd(),
        }
    )


class WickedReader:
    name = "WICKED"
    suffixes = (".wicked",)

    def accepts(self, head: bytes, name: str) -> bool:
        return head.startswith(b"WICKED ")

    def read(self, file: BinaryIO, name: str) -> Recognised:
        deed = file.read().split()[1].decode()
        deeds: dict[str, Callable[[], Recognised]] = {
            act.__name__: act
            for act in (hang, spin, crash, leave, bomb, fill, flood, surrogate, stumble, lie, boast, confess)
        }  # fmt: skip
        return deeds[deed]()
