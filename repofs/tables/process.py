"""The processes that look into arrays, which nobody has checked: a parent that waits, and a child for each task.

Started by the daemon as ``python -m repofs.tables.process FD``. The parent loads the libraries once, so that a child is
there in milliseconds; it has the daemon's rights and never opens an array. A child takes the rights of whoever asks and
of nobody else, sees of the file system only the array that it was given, or of the network only its store, has limits
of memory and processor time, does its task and ends. It may die of what it reads: the daemon hears of it.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from repofs import privileges
from repofs.confinement import landlock, seccomp
from repofs.confinement.landlock import Beneath
from repofs.errors import RepofsError
from repofs.table import Secret
from repofs.tables import exchange
from repofs.tables.exchange import (
    ANSWER_BYTES,
    Answer,
    Begun,
    Bytes,
    Create,
    Done,
    Ended,
    Examine,
    Export,
    Found,
    Listed,
    ListFiles,
    Made,
    ReadFile,
    Refused,
    Rotate,
    Task,
)

NOBODY = 65534
_OPEN_FILES = 4096
_ALWAYS = ("/dev/urandom",)  # TileDB makes its TLS library ready, whatever it is going to read
_ASKED_BY_NETWORK = ("/etc/ssl", "/usr/share/ca-certificates", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
                     "/etc/gai.conf", "/etc/host.conf", "/etc/services", "/run/systemd/resolve")  # fmt: skip


# --- the parent ----------------------------------------------------------------------------------


def serve(connection: socket.socket) -> None:
    """Start a child for each task until the daemon closes its end."""
    wakeup_reader, wakeup_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    children: dict[int, int] = {}  # tasks by pid
    while True:
        ready, _, _ = select.select([connection.fileno(), wakeup_reader], [], [])
        if wakeup_reader in ready:
            os.read(wakeup_reader, 4096)
        _bury(connection, children)
        if connection.fileno() in ready:
            packet, descriptors, _, _ = socket.recv_fds(connection, exchange.TASK_BYTES, exchange.DESCRIPTORS)
            if not packet:
                return
            task = exchange.read_task(packet)
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                connection.close()
                _live(task, descriptors, parent)
            children[pid] = task.number
            for descriptor in descriptors:
                os.close(descriptor)


def _bury(connection: socket.socket, children: dict[int, int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        connection.send(exchange.pack(Ended(children.pop(pid), status)))


# --- a child -------------------------------------------------------------------------------------


def _live(task: Task, descriptors: Sequence[int], parent: int) -> None:
    """Do *task* and end, whatever comes of it."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with socket.socket(fileno=descriptors[0]) as answers:
            pidfd = os.pidfd_open(os.getpid())
            socket.send_fds(answers, [exchange.pack(Begun())], [pidfd])
            os.close(pidfd)
            _send(answers, _answer(task, descriptors[1:], parent))
        code = 0
    finally:
        os._exit(code)


def _send(answers: socket.socket, answer: Answer) -> None:
    packed = exchange.pack(answer)
    if len(packed) > ANSWER_BYTES:
        packed = exchange.pack(Refused(errno.EINVAL, "the array has too many columns or fragments to be told of"))
    answers.sendall(packed)


def _answer(task: Task, descriptors: Sequence[int], parent: int) -> Answer:
    try:
        confine(task, descriptors, parent)
        return _JOBS[type(task.job)](task, descriptors)
    except RepofsError as error:
        return Refused(error.errno or errno.EIO, error.message)
    except MemoryError:
        return Refused(errno.EINVAL, f"more than {task.memory_bytes >> 20} MiB of memory are needed for this")
    except OSError as error:
        return Refused(error.errno or errno.EIO, f"it cannot be read: {error.strerror}")


def confine(task: Task, descriptors: Sequence[int], parent: int) -> None:
    """Take the rights of *task*'s user, and no others. Raises OSError."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, mapped + task.memory_bytes),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CPU, task.cpu_seconds),
    ):
        resource.setrlimit(what, (most, most))
    beneath, port = _open_to(task, descriptors)
    _become(task)
    privileges.hide_memory()
    privileges.end_with_parent(signal.SIGKILL, parent)
    privileges.gain_none()
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())  # a hostile array must not fill the daemon's log
    landlock.confine(beneath, port)
    for one in beneath:
        if one.descriptor not in descriptors:
            os.close(one.descriptor)
    seccomp.confine(_CALLS[type(task.job)] if task.uri is None else seccomp.NETWORK)


_CALLS = {
    Examine: seccomp.READING,
    Export: seccomp.READING,
    Rotate: seccomp.WRITING,
    Create: seccomp.WRITING,
}


def _open_to(task: Task, descriptors: Sequence[int]) -> tuple[list[Beneath], int | None]:
    """Return what of the file system and of the network stays open to the child."""
    paths = _ALWAYS if task.uri is None else _ALWAYS + _ASKED_BY_NETWORK
    beneath = [Beneath(os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in paths if os.path.exists(path)]
    if isinstance(task.job, Create):
        beneath += [_directory_of(task.job.source, False), _directory_of(task.job.target, True)]
    elif task.uri is None:
        beneath.append(Beneath(descriptors[0], isinstance(task.job, Rotate)))
    return beneath, task.port


def _directory_of(path: bytes, writable: bool) -> Beneath:
    return Beneath(os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), writable)


def _become(task: Task) -> None:
    """Be who asks; a parent that has no right to change who it is stays its own user, and serves nobody else."""
    uid, gid, groups = task.who or (NOBODY, NOBODY, ())
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        privileges.keep([])
    elif task.who is not None and uid != os.geteuid():
        raise PermissionError(errno.EACCES, f"only root's daemon reads files for uid {uid}")


# --- jobs ----------------------------------------------------------------------------------------


def _uri(task: Task, descriptors: Sequence[int]) -> str:
    return task.uri if task.uri is not None else f"/proc/self/fd/{descriptors[0]}"


def _examine(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import array

    return Found.of(array.examine(_uri(task, descriptors), array.context(task.memory_bytes, task.s3)))


def _rotate(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import array

    assert isinstance(task.job, Rotate)
    array.rotate(_uri(task, descriptors), Secret(task.job.token), array.context(task.memory_bytes, task.s3))
    return Done()


def _export(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import array, exporting

    assert isinstance(task.job, Export)
    with open(descriptors[-1], "wb", closefd=False) as file:
        ctx = array.context(task.memory_bytes, task.s3)
        exporting.write(_uri(task, descriptors), task.job.form, file, task.job.selection, ctx)
    return Done()


def _create(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import creating

    assert isinstance(task.job, Create)
    return Made(creating.create(os.fsdecode(task.job.source), os.fsdecode(task.job.target)).reveal())


def _list(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import array, store

    assert isinstance(task.job, ListFiles) and task.uri is not None
    return Listed(tuple(store.entries(task.uri, task.job.below, array.context(task.memory_bytes, task.s3))))


def _read(task: Task, descriptors: Sequence[int]) -> Answer:
    from repofs.tables import array, store

    job = task.job
    assert isinstance(job, ReadFile) and task.uri is not None
    ctx = array.context(task.memory_bytes, task.s3)
    return Bytes(store.read(task.uri, job.below, job.offset, job.size, ctx))


_JOBS: dict[type, Callable[[Task, Sequence[int]], Answer]] = {
    Examine: _examine,
    Rotate: _rotate,
    Export: _export,
    Create: _create,
    ListFiles: _list,
    ReadFile: _read,
}


def main() -> None:
    """Load the libraries and serve. No context is made here: its threads would not be there in a child."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):  # for the daemon, which finishes what is in hand
        signal.signal(number, signal.SIG_IGN)
    privileges.end_with_parent(signal.SIGKILL, os.getppid())
    logging.disable()
    import repofs.tables.exporting  # noqa: F401 - loaded for the children

    serve(connection)


if __name__ == "__main__":
    main()
