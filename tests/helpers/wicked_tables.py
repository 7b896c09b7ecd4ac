"""`repofs.tables.process` whose children do what a file `deed` in the array says, as if that had taken them over."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable

from repofs.tables import child, exchange, process
from repofs.tables.exchange import Found, Job


def crash() -> None:
    ctypes.string_at(0)


def leave() -> None:
    os._exit(3)


def hang() -> None:
    time.sleep(3600)


def spin() -> None:
    while True:
        pass


def eat() -> None:
    eaten = []
    while True:
        eaten.append(bytearray(16 << 20))


def stumble() -> None:
    raise ValueError("token-of-an-array-that-nobody-tells")


def nonsense() -> None:
    os.write(_talk(), exchange.HEADER.pack(3) + b"\xc1\xc1\xc1")
    hang()


def boast() -> None:
    os.write(_talk(), exchange.HEADER.pack(0xFFFF_FFFF))
    hang()


def other() -> exchange.Done:
    return exchange.Done()


def flood() -> Found:
    return Found(None, 0, (), "x" * (5 << 20))


def large() -> Found:
    return Found(None, 0, (), "x" * (3 << 20))


def attack() -> Found:
    """Try what code of an attacker's would, in an array whose directory has number 3 or above."""
    return Found(None, 0, (), json.dumps({name: _tried(act) for name, act in _attacks().items()}))


def _tried(act: Callable[[], object]) -> str:
    try:
        found = act()
    except OSError as error:
        return f"refused: {error.strerror}"
    return f"worked: {found!r}"


def _attacks() -> dict[str, Callable[[], object]]:
    array = next(fd for fd in _descriptors() if stat.S_ISDIR(os.fstat(fd).st_mode))
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments: object) -> None:
        if libc[name](*arguments) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def opened(path: str, flags: int = os.O_RDONLY) -> int:
        return os.open(path, flags, dir_fd=array)

    parent = os.getppid()
    daemon = int(os.read(opened("daemon"), 20))
    port = int(os.read(opened("port"), 20))
    return {
        "read over a symlink": lambda: opened("outside"),
        "list over a symlink": lambda: os.listdir(f"/proc/self/fd/{array}/outside_directory"),
        "read by ..": lambda: opened("../secret"),
        "read /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "read the parent's memory": lambda: os.open(f"/proc/{parent}/mem", os.O_RDONLY),
        "read its own environment": lambda: os.open("/proc/self/environ", os.O_RDONLY),
        "write a file of the array": lambda: opened("deed", os.O_WRONLY),
        "truncate a file of the array": lambda: opened("deed", os.O_RDONLY | os.O_TRUNC),
        "make a file in the array": lambda: opened("new", os.O_WRONLY | os.O_CREAT),
        "make a directory": lambda: os.mkdir("new", dir_fd=array),
        "remove a file": lambda: os.unlink("deed", dir_fd=array),
        "rename a file": lambda: os.rename("deed", "done", src_dir_fd=array, dst_dir_fd=array),
        "change a mode": lambda: os.chmod(array, 0o777),
        "set an attribute": lambda: os.setxattr(array, "user.repofs.x", b"1"),
        "write below /tmp": lambda: os.open("/tmp/wicked", os.O_WRONLY | os.O_CREAT),
        "connect": lambda: socket.create_connection(("127.0.0.1", port)),
        "send a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "signal the daemon": lambda: os.kill(daemon, 0),
        "signal the parent": lambda: os.kill(parent, signal.SIGCONT),
        "trace the parent": lambda: call("ptrace", 16, parent, None, None),
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
        "become root": lambda: os.setresuid(0, 0, 0),
        "chroot": lambda: os.chroot("/"),
        "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
        "new namespaces": lambda: call("unshare", 0x1000_0000),
        "unlimited memory": lambda: call("setrlimit", 9, (ctypes.c_ulong * 2)(2**64 - 1, 2**64 - 1)),
    }


def ask_around(store: int, other: int) -> Found:
    """Try, as a reader of the store on port *store*, for that, the port *other*, and files."""
    attacks: dict[str, Callable[[], object]] = {
        "connect to the store": lambda: _connect(store),
        "connect to another port": lambda: _connect(other),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
        "a raw packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "read /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "list /": lambda: os.listdir("/"),
        "make a file": lambda: os.open("/tmp/wicked", os.O_WRONLY | os.O_CREAT),
        "write the hosts": lambda: os.open("/etc/hosts", os.O_WRONLY),
        "fork": os.fork,
        "execute": lambda: os.execv("/bin/true", ["true"]),
    }
    return Found(None, 0, (), json.dumps({name: _tried(act) for name, act in attacks.items()}))


def _connect(port: int) -> None:
    with socket.socket() as made:  # without a timeout: setting one takes an ioctl that is refused
        made.connect(("127.0.0.1", port))


def _descriptors() -> list[int]:
    return [fd for fd in range(3, 64) if _is_open(fd)]


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _talk() -> int:
    return next(fd for fd in _descriptors() if stat.S_ISSOCK(os.fstat(fd).st_mode))


DEEDS: dict[str, Callable[..., exchange.Answer | None]] = {
    deed.__name__: deed
    for deed in (crash, leave, hang, spin, eat, stumble, nonsense, boast, other, flood, large, attack, ask_around)
}


class WickedWork(child.Work):
    """Does the deed of the array; of one that has none, the job."""

    def _done(self, job: Job) -> exchange.Answer:
        deed = self._deed()
        if deed is None:
            return super()._done(job)
        name, *arguments = deed.split(".")
        answer = DEEDS[name](*([self._task.port, int(arguments[0])] if arguments else []))
        assert answer is not None
        return answer

    def _deed(self) -> str | None:
        if not self._given:
            _, in_store, deed = self._uri.partition("/deed.")
            return deed if in_store else None
        try:
            with open(f"/proc/self/fd/{self._given[0]}/deed", encoding="ascii") as file:
                return file.read()
        except OSError:
            return None


if __name__ == "__main__":
    child.Work = WickedWork  # type: ignore[misc]
    process.main()
