"""A reader process: one after another it reads files that nobody has checked, with nothing to lose.

Forked by `process`, with its end of a socket (`exchange`). It sees files only through descriptors that come with a
request, or when it asks: it is nobody, in no group, has no file system, no network and no other process (`seccomp`,
`landlock`), cannot gain a privilege, and ends when its parent and the importer do.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from repofs import privileges
from repofs.confinement import landlock, seccomp
from repofs.errors import ReaderFailed
from repofs.formats import exchange, registry
from repofs.formats.exchange import Answer, Limits, Request, Task
from repofs.formats.lent_files import LentFiles, receive
from repofs.image import Members

NOBODY = 65534
_OPEN_FILES = 64


def confine(limits: Limits, parent: int) -> None:
    """Give up every right and set the limits that hold for the whole process. Raises OSError.

    Memory is counted as address space beyond what is mapped already: numpy and its like map hundreds of
    megabytes that they never touch.
    """
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    memory = mapped + limits.memory_bytes
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    privileges.hide_memory()  # from other readers too, who are the same nobody
    privileges.end_with_parent(signal.SIGKILL, parent)
    privileges.gain_none()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # a hostile file must not fill the daemon's log
    landlock.confine()
    seccomp.confine()


def allow_processor_time(seconds: int) -> None:
    """Let the process run for *seconds* from now on; SIGXCPU ends it after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard))


def serve(connection: socket.socket, limits: Limits) -> None:
    """Answer requests until the other side closes its end."""
    connection.sendall(exchange.pack(exchange.READY))
    while True:
        most = exchange.TOGETHER
        header, received, _, _ = socket.recv_fds(connection, exchange.HEADER.size, most, socket.MSG_WAITALL)
        if not header:
            return
        descriptors = iter(received)
        for request in exchange.requests(receive(connection, exchange.body_bytes(header, exchange.REQUEST_BYTES))):
            allow_processor_time(limits.cpu_seconds)
            descriptor = None if request.name.endswith(b"/") else next(descriptors)
            files = LentFiles(connection, os.fsdecode(request.name), descriptor)
            try:
                connection.sendall(_packed(_answer(request, files), limits.answer_bytes))
            finally:
                files.close()


def _answer(request: Request, files: LentFiles) -> Answer:
    name = os.fsdecode(request.name)
    try:
        match request.task:
            case Task.LOOK:
                found = registry.look(name, files)
                return Answer(members=found) if isinstance(found, Members) else Answer(recognised=found)
            case Task.READ:
                return Answer(recognised=registry.read(name, files))
            case Task.PICTURE:
                return Answer(picture=registry.picture(name, files, request.series, request.appearance))
    except ReaderFailed as error:
        return Answer(error=error.message.encode("utf-8", "replace").decode())
    except OSError as error:
        return Answer(error=f"the file cannot be read: {error.strerror}")


def _packed(answer: Answer, most: int) -> bytes:
    try:
        packed = exchange.pack(answer)
    except UnicodeEncodeError:
        return exchange.pack(Answer(error=f"the reader found text that is none: {registry.KEPT}"))
    if len(packed) - exchange.HEADER.size > most:
        return exchange.pack(Answer(error=f"the reader found more than {most} bytes of metadata: {registry.KEPT}"))
    return packed


def live(limits: Limits, talk: int, given: Sequence[int], parent: int) -> NoReturn:
    """Confine this process and serve over the socket *talk*, then end."""
    code = 1
    try:
        connection = socket.socket(fileno=talk)  # which asks the kernel what it may not ask afterwards
        confine(limits, parent)
        serve(connection, limits)
        code = 0
    finally:
        os._exit(code)
