"""A process that looks into one array, or talks to one store, and may die of what it reads.

Before it reads a byte it takes the rights of whoever asks and of nobody else, and is left with the array that it was
given, or of the network with the store's port, with limits of memory and processor time, and with few system calls.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import pkgutil
import resource
import signal
import socket
import struct
import sys
import sysconfig
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from repofs import privileges, tables
from repofs.confinement import landlock, seccomp
from repofs.confinement.landlock import Beneath
from repofs.errors import AccessDenied, InvalidValue, RepofsError
from repofs.table import Secret
from repofs.tables import exchange
from repofs.tables.exchange import (
    ANSWER_BYTES,
    HEADER,
    TASK_BYTES,
    Answer,
    Bytes,
    Create,
    Done,
    Examine,
    Export,
    Found,
    Job,
    Listed,
    ListFiles,
    Made,
    ReadFile,
    Refused,
    Rotate,
    Task,
)

NOBODY = 65534
IDLE_SECONDS = 180  # then a child of a store that is asked nothing ends
_OPEN_FILES = 1024
_ROTATED_BYTES = 64 << 20  # of a file that rotating writes: metadata are small
_ALWAYS = ("/dev/urandom",)  # TileDB makes its TLS library ready, whatever it is going to read
_ASKED_BY_NETWORK = ("/etc/ssl", "/etc/pki", "/usr/share/ca-certificates", "/etc/resolv.conf", "/etc/hosts",
                     "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services")  # fmt: skip
_LIBRARIES = sorted({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
"""Of which pandas and pyarrow load parts when they first need them."""

Message = TypeVar("Message")


def load() -> None:
    """Load all of this room: a child can read libraries at most, and not us."""
    for found in pkgutil.iter_modules(tables.__path__):
        _module(found.name)
    importlib.import_module("pyarrow.pandas_compat")


def _module(name: str) -> Any:
    return importlib.import_module(f"repofs.tables.{name}")


def live(talk: int, given: Sequence[int], parent: int) -> NoReturn:
    """Do what is asked over *talk* and end, whatever comes of it."""
    code = 1
    try:
        privileges.end_with_parent(signal.SIGKILL, parent)
        connection = socket.socket(fileno=talk)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", IDLE_SECONDS, 0))
        task, job = _receive(connection, exchange.read_task), _receive(connection, exchange.read_job)
        if task is not None and job is not None:
            _serve(connection, task, job, given, parent)
        code = 0
    finally:
        os._exit(code)


def _receive(connection: socket.socket, read: Callable[[bytes], Message]) -> Message | None:
    header = connection.recv(HEADER.size, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        return None
    return read(connection.recv(exchange.body_bytes(header, TASK_BYTES), socket.MSG_WAITALL))


def _serve(connection: socket.socket, task: Task, job: Job, given: Sequence[int], parent: int) -> None:
    try:
        confine(task, job, given, parent)
    except RepofsError as error:
        connection.sendall(_packed(Refused(error.errno or errno.EIO, error.message)))
        return
    except OSError as error:  # of the paths of a Create
        path = os.fsdecode(error.filename or b"it cannot be read")
        connection.sendall(_packed(Refused(error.errno or errno.EIO, f"{path}: {error.strerror}")))
        return
    work = Work(task, given)
    asked: Job | None = job
    while asked is not None:
        connection.sendall(_packed(work.answer(asked)))
        try:
            asked = _receive(connection, exchange.read_job)
        except BlockingIOError:  # IDLE_SECONDS are over
            return


def _packed(answer: Answer) -> bytes:
    try:
        return exchange.pack(answer, ANSWER_BYTES)
    except InvalidValue as error:
        return exchange.pack(Refused(errno.EINVAL, f"the array cannot be read: {error.message}"), ANSWER_BYTES)


# --- what is left to it ---------------------------------------------------------------------------


def confine(task: Task, job: Job, given: Sequence[int], parent: int) -> None:
    """Take the rights of *task*'s user, and no others. Raises OSError."""
    _limit(task, job)
    _become(task)
    beneath = _open_to(task, job, given)
    privileges.hide_memory()  # from others of the same user
    privileges.end_with_parent(signal.SIGKILL, parent)
    privileges.gain_none()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # a hostile array must not fill the daemon's log
    landlock.confine(beneath, task.port)
    for one in beneath:
        if one.descriptor not in given:
            os.close(one.descriptor)
    if task.uri is not None:
        seccomp.confine(seccomp.NETWORK)
    else:
        seccomp.confine(seccomp.WRITING if isinstance(job, Rotate | Create) else seccomp.READING)


def _limit(task: Task, job: Job) -> None:
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    limits = {resource.RLIMIT_AS: mapped + task.memory_bytes, resource.RLIMIT_NOFILE: _OPEN_FILES}
    if task.cpu_seconds is not None:
        limits[resource.RLIMIT_CPU] = task.cpu_seconds
    if not isinstance(job, Export | Create):
        limits[resource.RLIMIT_FSIZE] = _ROTATED_BYTES if isinstance(job, Rotate) else 0
    for what, most in limits.items():
        _, hard = resource.getrlimit(what)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def _become(task: Task) -> None:
    """Be who asks; a parent that has no right to change who it is stays its own user, and serves nobody else."""
    uid, gid, groups = task.who or (NOBODY, NOBODY, ())
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        privileges.keep([])
    elif task.who is not None and uid != os.geteuid():
        raise AccessDenied(f"the daemon runs as uid {os.geteuid()}: only root's reads arrays for uid {uid}")


def _open_to(task: Task, job: Job, given: Sequence[int]) -> list[Beneath]:
    """Return what of the file system stays open to the child; of a path, what its user can reach."""
    paths = list(_ALWAYS)
    if task.uri is not None:
        paths += _ASKED_BY_NETWORK
    if isinstance(job, Export | Create):
        paths += _LIBRARIES
    beneath = [Beneath(os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in paths if os.path.exists(path)]
    if isinstance(job, Create):
        beneath.append(Beneath(os.open(job.source, os.O_PATH | os.O_CLOEXEC)))
        above = os.open(os.path.dirname(job.target), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        beneath.append(Beneath(above, writable=True))
    elif task.uri is None:
        beneath.append(Beneath(given[0], writable=isinstance(job, Rotate)))
    return beneath


# --- jobs -----------------------------------------------------------------------------------------


class Work:
    """Does the jobs of one task."""

    def __init__(self, task: Task, given: Sequence[int]) -> None:
        self._task = task
        self._given = given
        self._uri = task.uri if task.uri is not None else f"/proc/self/fd/{given[0]}" if given else ""

    @functools.cached_property
    def _ctx(self) -> Any:
        return _module("array").context(self._task.memory_bytes, self._task.s3)

    def answer(self, job: Job) -> Answer:
        """Do *job*; what goes wrong is an answer too, in one sentence."""
        uri = job.uri if isinstance(job, ListFiles | ReadFile) else self._task.uri
        try:
            with _module("store").told(uri) if uri is not None else contextlib.nullcontext():
                return self._done(job)
        except RepofsError as error:
            return Refused(error.errno or errno.EIO, error.message.encode("utf-8", "replace").decode())
        except MemoryError:
            return Refused(errno.EINVAL, f"the array cannot be read within {self._task.memory_bytes >> 20} MiB")
        except OSError as error:
            return Refused(error.errno or errno.EIO, f"the array cannot be read: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - whatever a hostile array makes the libraries raise, without its text
            return Refused(errno.EINVAL, f"the array cannot be read: {type(error).__name__}")

    def _done(self, job: Job) -> Answer:
        match job:
            case Examine():
                return Found.of(self._examined())
            case Rotate(token):
                _module("array").rotate(self._uri, Secret(token), self._ctx)
            case Export(form, selection):
                with open(self._given[-1], "wb", closefd=False) as file:
                    _module("exporting").write(self._uri, form, file, selection, self._ctx)
            case Create(source, target):
                return Made(_module("creating").create(os.fsdecode(source), os.fsdecode(target)).reveal())
            case ListFiles(uri):
                return Listed(_module("store").entries(uri, self._ctx))
            case ReadFile(uri, offset, size):
                return Bytes(_module("store").read(uri, offset, size, self._ctx))
        return Done()

    def _examined(self) -> Any:
        if self._task.uri is not None:
            _module("store").require_directory(self._task.uri, self._ctx)
        return _module("array").examine(self._uri, self._ctx)
