"""A third party's reader that does what the file says: ``WICKED hang``. It is put into reader processes as an
installed package would be, by an entry point (`tests/services/test_readers.py`)."""

from __future__ import annotations

import ctypes
import fcntl
import importlib
import os
import resource
import signal
import socket
import stat
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy

from repofs.formats import exchange
from repofs.formats.exchange import Answer, Question, Wanted
from repofs.formats.reader import Files
from repofs.image import ImageInfo, Members, Picture, Recognised

_IMAGE = ImageInfo("good", 0, 8, 8, 1, 1, 1, "uint8")
_HEAD = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PICTURES = (b"", b"<script>", _HEAD + struct.pack(">II", 10**9, 10**9), _HEAD + bytes(8), _HEAD)


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


def behave() -> Recognised:
    return Recognised("WICKED", (_IMAGE,))


def stumble() -> Recognised:
    raise ValueError("it has\nno legs")


def lie() -> Recognised:
    os.write(_connection(), b"\x05\0\0\0AAAAA")
    return hang()


def boast() -> Recognised:
    os.write(_connection(), b"\xff\xff\xff\xff")
    return hang()


def say(*answers: Answer | Wanted) -> Recognised:
    """Say to the importer what no reader would."""
    for answer in answers:
        os.write(_connection(), exchange.pack(answer))
    return hang()


def invent() -> Recognised:
    """Give a million channels, of a byte each."""
    image = {**asdict(_IMAGE), "channels": [{}] * 1_000_000}
    body = msgspec.msgpack.encode({"type": "answer", "recognised": {"images": [image]}})
    os.write(_connection(), exchange.HEADER.pack(len(body)) + body)
    return hang()


def exaggerate() -> Recognised:
    """Give numbers and texts that no column holds."""
    image = replace(
        _IMAGE, name="a\0b", series=2**63, size_x=-1, size_y=2**64 - 1, pixel_type="\n", acquired="x" * 9999
    )
    return say(Answer(recognised=Recognised("a\0b", (image, image), {"\0": "\0"}, "\0")))


def pester() -> Recognised:
    """Ask whatever comes to mind, and take no answer for as long as the importer lets itself be asked."""
    names = (b"a\0b", b"", b"/", b"..", b"\xff", b"x" * 100_000, b"a/" * 1000)
    return say(*(Wanted(question, name) for _ in range(10_000) for question in Question for name in names))


def _connection() -> int:
    return next(fd for fd in range(3, 64) if _answers(os.fstat, fd) and stat.S_ISSOCK(os.fstat(fd).st_mode))


def confess() -> Recognised:
    """Tell what this process has."""
    return Recognised(
        original_metadata={
            "descriptors": " ".join(str(fd) for fd in range(4096) if _answers(os.fstat, fd)),
            "environment": " ".join(sorted(os.environ)),
            "log": str(os.write(2, b"a line in the daemon's log\n")),
        }
    )


def attack(readers: list[str], file: BinaryIO) -> Recognised:
    """Try what a hostile file would have us do to the machine, the file and the other of *readers*, and tell."""
    fd, pid = file.fileno(), next(int(reader) for reader in readers if int(reader) != os.getpid())
    deeds: dict[str, Callable[[], object]] = {
        "read a file": Path("/etc/passwd").read_text,
        "read a secret": Path("/etc/shadow").read_text,
        "list a directory": lambda: os.listdir("/"),
        "read /proc": Path("/proc/self/status").read_text,
        "open the file anew": lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR),
        "make a file": Path("/tmp/made").touch,
        "make a directory": lambda: os.mkdir("/tmp/made"),
        "make a file in memory": lambda: os.memfd_create("made"),
        "write the file": lambda: os.write(fd, b"x"),
        "change the mode": lambda: os.chmod(fd, 0o777),
        "change the times": lambda: os.utime(fd),
        "forge a mark": lambda: os.setxattr(fd, "user.repofs.mark", b"x"),
        "hold a lease": lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK),
        "connect": lambda: socket.create_connection(("127.0.0.1", 22)),
        "make a Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "make a pair of sockets": socket.socketpair,
        "ask for a name": lambda: socket.getaddrinfo("localhost", 22),
        "fork": os.fork,
        "run a program": lambda: os.execv("/bin/true", ["true"]),
        "run a program beside": lambda: subprocess.run(["/bin/true"], check=True),
        "kill": lambda: os.kill(pid, signal.SIGKILL),
        "kill all": lambda: os.kill(-1, signal.SIGKILL),
        "kill the importer": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "take limits away": lambda: resource.prlimit(pid, resource.RLIMIT_CPU, (1, 1)),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        "become root": lambda: os.setuid(0),
        "leave the mounts": lambda: _call("unshare", 0x20000),
        "become root of a namespace": lambda: _call("unshare", 0x10000000),
        "mount": lambda: _call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
        "trace": lambda: _call("ptrace", 16, pid, 0, 0),
        "be traced": lambda: _call("prctl", 4, 1, 0, 0, 0),
        "read memory": lambda: _call("process_vm_readv", pid, None, 0, None, 0, 0),
        "use io_uring": lambda: _call("syscall", 425, 8, bytes(120)),
        "make a process by clone3": lambda: _call("syscall", 435, bytes(88), 88),
        "load BPF": lambda: _call("syscall", 321, 0, bytes(120), 120),
        "open by the numbers of x32": lambda: _call("syscall", 0x40000002, b"/etc/passwd", 0),
        "share memory": lambda: _call("shmget", 1, 4096, 0o1600),
        "load a library": lambda: ctypes.CDLL("libthread_db.so.1"),
        "import a module": lambda: importlib.import_module("this"),
    }
    return Recognised(original_metadata={name: _outcome(act) for name, act in deeds.items()})


def _content(files: Files, name: str) -> bytes:
    with files.open(name) as file:
        return file.read()


def _answers(act: Callable[..., object], *arguments: object) -> bool:
    try:
        act(*arguments)
    except OSError:
        return False
    return True


def _outcome(act: Callable[[], object]) -> str:
    try:
        return f"done: {act()!r}"
    except (OSError, ImportError, ValueError, subprocess.SubprocessError) as error:
        return f"refused: {error!r}"


def _call(name: str, *arguments: int | bytes | None) -> int:
    answer = int(ctypes.CDLL(None, use_errno=True)[name](*arguments))
    if answer < 0:
        raise OSError(ctypes.get_errno(), name)
    return answer


class WickedReader:
    name = "WICKED"
    suffixes = (".wicked",)

    def accepts(self, head: bytes, name: str, siblings: Files) -> bool:
        return head.startswith(b"WICKED ")

    def members(self, name: str, files: Files) -> Members | None:
        with files.open(name) as file:
            deed, *words = file.read().decode().split()[1:]
        return Members(words[0], tuple(words)) if deed == "together" else None

    def preview(self, name: str, files: Files, series: int, pixels: int) -> numpy.ndarray:
        with files.open(name) as file:
            deed = file.read().decode().split()[1]
        if deed == "hang":
            hang()
        if deed == "paint":
            say(Answer(picture=Picture(_PICTURES[series])))
        return numpy.arange(64, dtype="u1").reshape(1, 8, 8)

    def read(self, name: str, files: Files) -> Recognised:
        with files.open(name) as file:
            return self._read(file, files)

    def _read(self, file: BinaryIO, files: Files) -> Recognised:
        deed, *words = file.read().decode().split()[1:]
        if deed == "attack":
            return attack(words, file)
        if deed == "together":
            return Recognised("WICKED", (ImageInfo("set", 0, 8, 8, len(files.names()), 1, 1, "uint8"),))
        if deed == "wander":
            return Recognised(
                original_metadata={word: _outcome(lambda word=word: _content(files, word)) for word in words}
            )
        deeds: dict[str, Callable[[], Recognised]] = {
            act.__name__: act
            for act in (behave, hang, spin, crash, leave, bomb, fill, flood, surrogate, stumble, lie, boast, confess,
                        invent, exaggerate, pester)
        }  # fmt: skip
        return deeds[deed]()
