"""The daemon's side of the processes that look into arrays (`repofs.tables.process`): started at the first need, asked,
bounded, killed. TileDB is in no other process of ours.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from repofs.config import Store
from repofs.config import Tables as TableSettings
from repofs.errors import InvalidValue, SettingsError, Unreachable
from repofs.repository.as_user import Caller
from repofs.table import Examined, Form, Secret, Selection
from repofs.tables import exchange
from repofs.tables.exchange import (
    ANSWER_BYTES,
    Answer,
    Bytes,
    Create,
    Done,
    Examine,
    Export,
    File,
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
from repofs.threads import in_thread

LOOKS = 4  # children at a time that look into an array
EXPORTS = 2  # and that read or write a whole one, which may take long
START_SECONDS = 60.0  # loading the libraries takes 1.5 s on an idle machine
EXPORT_CPU_SECONDS = 24 * 3600
STORE_SECONDS = 10  # until a store that does not answer is away

Expected = TypeVar("Expected", bound=Answer)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class At:
    """An array, opened: what a process needs to look into it."""

    directory: int | None  # its directory; to be closed by whoever opened it. None: it is in a store
    store: Store | None
    path: bytes  # below the store's prefix
    who: Caller | None  # with whose rights its files are read; None: nobody's


class TableProcesses:
    """An async context manager: the processes live as long as it is open."""

    def __init__(self, settings: TableSettings) -> None:
        self._settings = settings
        self._looks = trio.CapacityLimiter(LOOKS)
        self._exports = trio.CapacityLimiter(EXPORTS)
        self._starting = trio.Lock()
        self._parent: _Parent | None = None
        self._number = 0
        self._nursery: trio.Nursery | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let tasks be done while the context lasts."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                if self._parent is not None:
                    self._parent.kill()

    # --- what may be asked ------------------------------------------------------------------------

    async def examine(self, at: At) -> Examined:
        """Return what the array is. Raises InvalidValue for what is none, Unreachable, AccessDenied."""
        return (await self._look(at, Examine(), Found)).examined()

    async def rotate(self, at: At, token: Secret) -> None:
        """Give the array another token. Raises InvalidValue, RepofsError when it cannot be written."""
        await self._look(at, Rotate(token.reveal()), Done)

    async def list_files(self, at: At, below: bytes) -> tuple[File, ...]:
        """Return what lies in a directory of an array in a store. Raises NotFound, Unreachable."""
        return (await self._look(at, ListFiles(below), Listed)).files

    async def read_file(self, at: At, below: bytes, offset: int, size: int) -> bytes:
        """Return bytes of a file of an array in a store. Raises NotFound, Unreachable."""
        return (await self._look(at, ReadFile(below, offset, size), Bytes)).content

    async def export(self, at: At, form: Form, selection: Selection, into: int) -> None:
        """Write what is selected into the descriptor *into*; cancelled, it ends in the middle. Raises InvalidValue."""
        async with self._exports:
            await self._do(at, Export(form, selection), Done, EXPORT_CPU_SECONDS, into)

    async def create(self, source: bytes, target: bytes, who: Caller) -> Secret:
        """Make an array of the file *source*, with the rights of *who*; return its token. Raises InvalidValue."""
        async with self._exports:
            at = At(None, None, b"", who)
            return Secret((await self._do(at, Create(source, target), Made, EXPORT_CPU_SECONDS)).token)

    async def _look(self, at: At, job: Job, expected: type[Expected]) -> Expected:
        seconds = self._settings.timeout_seconds
        async with self._looks:
            try:
                with trio.fail_after(seconds):
                    return await self._do(at, job, expected, math.ceil(seconds))
            except trio.TooSlowError:
                kind = Unreachable if at.store is not None else InvalidValue
                raise kind(f"the array was not read within {seconds:g} s") from None

    # --- asking -----------------------------------------------------------------------------------

    async def _do(
        self, at: At, job: Job, expected: type[Expected], cpu_seconds: int, into: int | None = None
    ) -> Expected:
        task = await self._task(at, job, cpu_seconds)
        parent = await self._running_parent()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = _Child(ours, parent, task.number)
        try:
            with theirs:
                given = [theirs.fileno(), *(fd for fd in (at.directory, into) if fd is not None)]
                await parent.send(task, given)
            return await child.answer(expected)
        finally:
            child.end()

    async def _task(self, at: At, job: Job, cpu_seconds: int) -> Task:
        self._number += 1
        who = None if at.who is None else (at.who.uid, at.who.gid, at.who.groups)
        task = Task(self._number, job, self._settings.memory_bytes, cpu_seconds, who)
        if at.store is None:
            return task
        s3 = await in_thread(_s3, at.store)
        uri = f"{at.store.uri.rstrip('/')}/{os.fsdecode(at.path)}"
        return msgspec.structs.replace(task, uri=uri, s3=s3, port=_port(at.store))

    async def _running_parent(self) -> _Parent:
        assert self._nursery is not None
        async with self._starting:
            if self._parent is None or self._parent.ended:
                self._parent = _Parent()
                self._nursery.start_soon(self._parent.hear)
            return self._parent


class _Parent:
    """The process that starts a child for each task."""

    def __init__(self) -> None:
        # On the event loop's thread: the kernel ends the process with the thread that started it (PR_SET_PDEATHSIG).
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "repofs.tables.process", str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                cwd="/", env=_environment(),
            )  # fmt: skip
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._sending = trio.Lock()
        self._statuses: dict[int, int] = {}
        self._heard = trio.Event()
        self.ended = False

    async def send(self, task: Task, descriptors: Sequence[int]) -> None:
        """Have *task* done. Raises InvalidValue for one that is too long, Unreachable when the process has died."""
        packet = exchange.pack(task)
        if len(packet) > exchange.TASK_BYTES:
            raise InvalidValue("the request is too long")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in descriptors))]
        try:
            async with self._sending:
                await self._socket.sendmsg([packet], rights)
        except (BrokenPipeError, ConnectionResetError):
            self._has_ended()
            raise Unreachable("the process that reads arrays has ended: try again") from None

    async def hear(self) -> None:
        """Take in which children have ended, until the process has."""
        with contextlib.suppress(ConnectionResetError):
            while packet := await self._socket.recv(4096):
                ended = exchange.read_ended(packet)
                self._statuses[ended.number] = ended.status
                self._ring()
        self._has_ended()
        self._process.poll()

    def _has_ended(self) -> None:
        self.ended = True
        self._ring()

    def _ring(self) -> None:
        self._heard.set()
        self._heard = trio.Event()

    async def status(self, number: int) -> int | None:
        """Return how the child of a task ended, as waitpid(2) tells it; None when its parent has gone."""
        while number not in self._statuses and not self.ended:
            await self._heard.wait()
        return self._statuses.get(number)

    def forget(self, number: int) -> None:
        self._statuses.pop(number, None)

    def kill(self) -> None:
        """End the process; its children end with it."""
        self._process.kill()
        self._process.wait()
        self._socket.close()


class _Child:
    """One task's process."""

    def __init__(self, ours: socket.socket, parent: _Parent, number: int) -> None:
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._parent = parent
        self._number = number
        self._pidfd: int | None = None

    async def answer(self, expected: type[Expected]) -> Expected:
        """Return the answer to the task. Raises the RepofsError that it tells, or InvalidValue when there is none."""
        await self._begun()
        packet = await self._receive()
        if not packet:
            raise InvalidValue(f"the array cannot be read: its reader {await self._cause()}")
        try:
            answer = exchange.read_answer(packet)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise InvalidValue("the array cannot be read: its reader talks nonsense") from None
        if isinstance(answer, Refused):
            raise answer.error()
        if not isinstance(answer, expected):
            raise InvalidValue("the array cannot be read: its reader answers something else")
        return answer

    async def _begun(self) -> None:
        try:
            with trio.fail_after(START_SECONDS):
                packet, ancillary, _flags, _ = await self._socket.recvmsg(
                    64, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
                )
        except trio.TooSlowError:
            raise Unreachable("the process that reads arrays is not ready: try again") from None
        for _level, _kind, data in ancillary:
            self._pidfd = int.from_bytes(data[:4], sys.byteorder)
        if not packet or self._pidfd is None:
            raise Unreachable("the process that reads arrays has ended: try again")

    async def _receive(self) -> bytes:
        try:
            return await self._socket.recv(ANSWER_BYTES + 1)
        except ConnectionResetError:
            return b""

    async def _cause(self) -> str:
        status = await self._parent.status(self._number)
        if status is None:
            return "was ended"
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            return {"SIGXCPU": "took too long", "SIGKILL": "was ended by SIGKILL (out of memory?)"}.get(
                name, f"was ended by {name}"
            )
        return f"ended with exit code {os.WEXITSTATUS(status)}"

    def end(self) -> None:
        """End the process, if it has not ended by itself."""
        self._socket.close()
        self._parent.forget(self._number)
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            os.close(self._pidfd)


def _environment() -> dict[str, str]:
    """Return what the processes need of our environment, and no secret of it."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",  # no threads in the parent: a child would not have them
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "AWS_EC2_METADATA_DISABLED": "true",  # no host is asked but the store's
    }


# --- stores --------------------------------------------------------------------------------------


class _Credentials(msgspec.Struct, forbid_unknown_fields=True):
    access_key_id: str
    secret_access_key: str


def _s3(store: Store) -> dict[str, str]:
    """Return TileDB's settings for *store*. Raises SettingsError when its credentials cannot be read."""
    settings = {
        "vfs.s3.region": store.region,
        "vfs.s3.connect_timeout_ms": str(STORE_SECONDS * 500),
        "vfs.s3.request_timeout_ms": str(STORE_SECONDS * 1000),
        "vfs.s3.connect_max_tries": "2",
        "vfs.s3.logging_level": "Off",
    }
    if store.endpoint is not None:
        scheme, _, host = store.endpoint.partition("://")
        settings |= {
            "vfs.s3.scheme": scheme,
            "vfs.s3.endpoint_override": host,
            "vfs.s3.use_virtual_addressing": "false",
        }
    if store.credentials_file is None:
        return {**settings, "vfs.s3.no_sign_request": "true"}
    credentials = _credentials(store.name, store.credentials_file)
    return {
        **settings,
        "vfs.s3.aws_access_key_id": credentials.access_key_id,
        "vfs.s3.aws_secret_access_key": credentials.secret_access_key,
    }


def _credentials(name: str, path: Path) -> _Credentials:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Credentials)
    except (OSError, ValueError, msgspec.ValidationError):  # not why: the message might repeat what stands in it
        raise SettingsError(
            f"the credentials of the store {name} cannot be read: {path} has access_key_id and secret_access_key"
        ) from None


def _port(store: Store) -> int:
    if store.endpoint is None:
        return 443
    scheme, _, host = store.endpoint.partition("://")
    _, colon, port = host.rpartition(":")
    return int(port) if colon else {"https": 443, "http": 80}[scheme]
