"""The daemon's end of the control socket. It decides nothing: the caller is who the kernel says that she is.

Anybody may connect, so nobody gets more than her share: a bounded request, a bounded time for it, a bounded number of
connections.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress

import structlog
import trio

from repofs.administration import requests
from repofs.administration.requests import Request
from repofs.control import protocol
from repofs.control.protocol import MOST_BYTES, Call, CreateSession, OriginalsFound, ShowUsage
from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, RepofsError
from repofs.importer.requests import Import, ListTrash, TrashRequest
from repofs.repository import as_user
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.usage import By

SHARE = 8  # connections of one user at a time; root has no limit
CONNECTIONS = 256  # of all users at a time: in a user namespace one person may have many uids
PATIENCE_SECONDS = 10.0  # for a client to send a request, and to take its answer
_BACKLOG = 128
_CHUNK_BYTES = 16 << 10
_SO_PEERGROUPS = 59  # socket(7): the supplementary groups that go with SO_PEERCRED
_MOST_BYTES_OF_GROUPS = 1024  # Python's bound of an option's value
_INT_BYTES = array.array("i").itemsize

log = structlog.get_logger(__name__)

Refused = Callable[[int, str, str], None]
"""Told which act was refused to whom, and why."""

Administer = Callable[[int, Request, int], Awaitable[str]]
"""Sees to a request of a uid (the second names whom to audit) and returns the result as JSON; raises RepofsError."""

Report = Callable[[int, By], Awaitable[str]]
"""Tells a uid as JSON how much is held of what she may view; raises RepofsError."""

Arrive = Callable[[Import, Caller, int], Awaitable[str]]
"""Imports what somebody asks for from the directory of a descriptor, which stays the server's, and returns what became
of it as JSON; raises RepofsError."""

Dispose = Callable[[int, TrashRequest, int], Awaitable[str]]
"""Sees to a request about deleting, of a uid (the second names whom to audit), and returns the result as JSON; raises
RepofsError."""

Begin = Callable[[int, str | None, int], str]
"""Begins a session of the HTTPS door for a uid, as the user of this name if there is one (the second uid names whom to
audit), and returns it as JSON; raises RepofsError."""


Found = Callable[[OriginalsFound], Awaitable[None]]
"""Has the mount and the catalogue look again at what a command has written."""


@contextmanager
def listening(layout: Layout) -> Iterator[socket.socket]:
    """Make the control socket and listen; whoever connects waits until a Control serves. Removed on leaving.

    The caller holds the lock of the repository, so one that is there was left by a daemon that was killed.
    """
    with suppress(FileNotFoundError):
        layout.control.unlink()
    directory = os.open(layout.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(f"/proc/self/fd/{directory}/{layout.control.name}")  # an address has 107 bytes at most
        finally:
            os.close(directory)
        try:
            layout.control.chmod(0o666)
            sock.listen(_BACKLOG)
            yield sock
        finally:
            try:
                layout.control.unlink()
            except OSError as error:  # of a disk that has failed: the next daemon removes it
                log.warning("the control socket is left", error=str(error))


class Control:
    """Serves any number of clients."""

    def __init__(
        self,
        sock: socket.socket,
        administer: Administer,
        refused: Refused,
        arrive: Arrive,
        dispose: Dispose,
        found: Found,
        report: Report,
        begin: Begin | None = None,
    ) -> None:
        """Without *begin* there is no HTTPS door."""
        self._sock = sock
        self._administer = administer
        self._arrive = arrive
        self._dispose = dispose
        self._found = found
        self._refused = refused
        self._report = report
        self._begin = begin
        self._connections: Counter[int] = Counter()  # by uid; without root's

    async def run(self) -> None:
        """Serve until cancelled."""
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._sock.dup()))
        await trio.serve_listeners(self._meet, [listener])

    async def _meet(self, stream: trio.SocketStream) -> None:
        """Serve one client to its end. Whatever it does, the daemon goes on."""
        try:
            caller = _peer(stream)
            with self._seat(caller.uid) as seated:
                if seated:
                    conversation = _Conversation(
                        stream,
                        caller,
                        self._administer,
                        self._refused,
                        self._arrive,
                        self._dispose,
                        self._found,
                        self._report,
                        self._begin,
                    )
                    with closing(conversation):
                        await conversation.run()
                else:
                    await _send(stream, protocol.error_line(Busy("too many requests at a time: try again in a moment")))
        except (trio.BrokenResourceError, trio.TooSlowError):
            pass  # it has gone, or sleeps
        except Exception:
            log.exception("a request over the control socket failed unexpectedly")
        finally:
            with trio.CancelScope(shield=True):
                await stream.aclose()

    @contextmanager
    def _seat(self, uid: int) -> Iterator[bool]:
        """Count the connection as one of *uid* while the context lasts; False when there is no place for it."""
        if uid == 0:
            yield True
        elif self._connections[uid] >= SHARE or self._connections.total() >= CONNECTIONS:
            yield False
        else:
            self._connections[uid] += 1
            try:
                yield True
            finally:
                self._connections[uid] -= 1
                if not self._connections[uid]:
                    del self._connections[uid]


class _Conversation:
    """One client: a request, its answer, the next."""

    def __init__(
        self,
        stream: trio.SocketStream,
        caller: Caller,
        administer: Administer,
        refused: Refused,
        arrive: Arrive,
        dispose: Dispose,
        found: Found,
        report: Report,
        begin: Begin | None,
    ) -> None:
        self._stream = stream
        self._caller = caller
        self._uid = caller.uid
        self._administer = administer
        self._refused = refused
        self._arrive = arrive
        self._dispose = dispose
        self._found = found
        self._report = report
        self._begin = begin
        self._received = bytearray()
        self._descriptor: int | None = None  # the last that came

    def close(self) -> None:
        """Close what came with a request."""
        self._take(None)

    def _take(self, descriptor: int | None) -> None:
        """Keep *descriptor* in place of the one that came before: nobody makes the daemon keep more than one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = descriptor

    async def run(self) -> None:
        """Return when the client has ended, or asks too much. Raises TooSlowError, BrokenResourceError."""
        while True:
            try:
                line = await self._line()
            except InvalidValue as error:
                await _send(self._stream, protocol.error_line(error))
                return
            if line is None:
                return
            answer = await self._answer(line)
            self.close()
            await _send(self._stream, answer)

    async def _line(self) -> bytes | None:
        """Return the next line, None at the end; InvalidValue for one that is too long."""
        with trio.fail_after(PATIENCE_SECONDS):
            while (end := self._received.find(b"\n")) < 0:
                if len(self._received) >= MOST_BYTES:
                    raise InvalidValue(f"a request has {MOST_BYTES} bytes at most")
                chunk = await self._receive()
                if not chunk:
                    return None
                self._received += chunk
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line

    async def _receive(self) -> bytes:
        """Return what has come; a descriptor that comes with it is kept."""
        try:
            chunk, ancillary, _flags, _ = await self._stream.socket.recvmsg(
                _CHUNK_BYTES, socket.CMSG_LEN(_INT_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError as error:
            raise trio.BrokenResourceError from error
        for _level, _kind, data in ancillary:
            for descriptor in array.array("i", data[: len(data) - len(data) % _INT_BYTES]):
                self._take(descriptor)
        return chunk

    async def _answer(self, line: bytes) -> bytes:
        try:
            call = protocol.read_call(line)
            audit_uid = self._audit_uid(call)
            if isinstance(call.request, Import):
                return protocol.result_line(await self._import(call.request, audit_uid))
            if isinstance(call.request, CreateSession):
                return protocol.result_line(self._create_session(call.request, audit_uid))
            if isinstance(call.request, TrashRequest):
                return protocol.result_line(await self._trash(call.request, audit_uid))
            if isinstance(call.request, OriginalsFound):
                return protocol.result_line(await self._look_again(call.request))
            if isinstance(call.request, ShowUsage):
                return protocol.result_line(await self._report(self._uid, call.request.by))
            return protocol.result_line(await self._see_to(call.request, audit_uid))
        except RepofsError as error:
            return protocol.error_line(error)

    async def _see_to(self, request: Request, audit_uid: int) -> str:
        try:
            return await self._administer(self._uid, request, audit_uid)
        except AccessDenied as error:
            act = requests.act(request)
            if act is not None:
                self._refused(audit_uid, act, error.message)
            raise

    async def _import(self, request: Import, audit_uid: int) -> str:
        if self._descriptor is None:
            raise InvalidValue("an import comes with the descriptor of the directory")
        try:
            return await self._arrive(request, self._caller, self._descriptor)
        except AccessDenied as error:
            self._refused(audit_uid, "import" if request.owner is None else "import-as", error.message)
            raise

    async def _trash(self, request: TrashRequest, audit_uid: int) -> str:
        try:
            return await self._dispose(self._uid, request, audit_uid)
        except AccessDenied as error:
            if not isinstance(request, ListTrash):
                self._refused(audit_uid, str(request.__struct_config__.tag), error.message)
            raise

    def _create_session(self, request: CreateSession, audit_uid: int) -> str:
        if self._begin is None:
            raise NotFound("there is no HTTPS API here: an administrator sets web.listen in settings.toml")
        try:
            return self._begin(self._uid, request.user, audit_uid)
        except AccessDenied as error:
            self._refused(audit_uid, "session.create", error.message)
            raise

    async def _look_again(self, request: OriginalsFound) -> str:
        if self._uid not in (0, os.geteuid()):
            raise AccessDenied("only root and the owner of the repository write into the catalogue")
        await self._found(request)
        return "null"

    def _audit_uid(self, call: Call) -> int:
        if call.audit_uid is None:
            return self._uid
        if self._uid not in (0, call.audit_uid):
            raise AccessDenied("only root asks in the name of somebody else")
        return call.audit_uid


async def _send(stream: trio.SocketStream, line: bytes) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        await stream.send_all(line)


def _peer(stream: trio.SocketStream) -> Caller:
    """Return who the client was when it connected (unix(7), SO_PEERCRED and SO_PEERGROUPS)."""
    credentials = struct.Struct("=iII")  # struct ucred: pid, uid, gid
    _pid, uid, gid = credentials.unpack(stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return Caller(uid, gid, _peer_groups(stream, uid))


def _peer_groups(stream: trio.SocketStream, uid: int) -> tuple[int, ...]:
    groups = array.array("I")
    try:
        groups.frombytes(stream.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES_OF_GROUPS))
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        return as_user.by_account(uid).groups  # who is in so many groups has them by her account
    return tuple(groups)
