"""What the mount and the importer process say to each other, and how it travels: one message a packet of a
SOCK_SEQPACKET socket, as MessagePack, with descriptors beside it (SCM_RIGHTS).

    [0][MessagePack]                  a message up to INLINE_BYTES; the packet's descriptors are the message's
    [1]              + descriptor     a longer one (a drop with a long history, hundreds of people): its bytes
                                      are in a memory file, the first descriptor; the others are the message's
"""

from __future__ import annotations

import array
import errno
import os
import socket
from collections.abc import Sequence

import msgspec
import trio

from repofs.administration.requests import Request
from repofs.deeds import Deed
from repofs.events import News
from repofs.importer.requests import Import, TrashRequest
from repofs.lifecycle import State
from repofs.model import Drop, Outcome
from repofs.people import People
from repofs.quotas import Held
from repofs.repository.as_user import Caller
from repofs.table import NewTable, Table
from repofs.usage import Sums
from repofs.views import Look

INLINE_BYTES = 32 << 10  # well below the kernel's default send buffer of 208 KiB: a longer packet is EMSGSIZE
TOGETHER = 16  # drops, or outcomes, at most in one message: taking in so many keeps nobody waiting for long
DESCRIPTORS = 1 + TOGETHER  # at most in one packet: the memory file and the drops

_INLINE, _MEMORY_FILE = b"\0", b"\1"
_INT_BYTES = array.array("i").itemsize


class Handed(msgspec.Struct, frozen=True, tag="drop"):
    """Mount to importer: import these, up to TOGETHER. Of each a descriptor of the file or directory, opened for
    reading, comes with it, in this order."""

    drops: tuple[Drop, ...]


class Done(msgspec.Struct, frozen=True, tag="outcome"):
    """Importer to mount: what became of drops; of each that was handed over it is told once."""

    outcomes: tuple[Outcome, ...]


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Mount to importer: describe this object of the catalogue."""

    id: int
    what: str  # "Fileset:17"


class View(msgspec.Struct, frozen=True, tag="view"):
    """Mount to importer: list this for the views in .repofs. Answered by a Page."""

    id: int  # of the same row as those of Ask
    look: Look


class Move(msgspec.Struct, frozen=True, tag="move"):
    """Mount to importer: move these filesets to the group of that gid, and tell the audit trail who asked for it."""

    id: int
    filesets: tuple[int, ...]
    gid: int
    actor_uid: int
    path: bytes  # below the mount: what they lie in


class SumUp(msgspec.Struct, frozen=True, tag="sum up"):
    """Mount to importer: how much do originals and trash hold? Answered by a list of Sum."""

    id: int  # of the same row as those of Ask
    sums: Sums


class Stands(msgspec.Struct, frozen=True, tag="stands"):
    """Mount to importer: so the source of that original was found. Answered by null."""

    id: int
    original: int
    state: State


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Mount to importer: a command has written into the catalogue, and there may be news."""


class AskVerified(msgspec.Struct, frozen=True, tag="verified"):
    """Mount to importer: how far is the verification of originals? Answered as JSON."""

    id: int  # of the same row as those of Ask


class Administer(msgspec.Struct, frozen=True, tag="administer"):
    """Mount to importer: see to this request about people and groups."""

    id: int  # of the same row as those of Ask
    request: Request
    uid: int  # who asks
    audit_uid: int  # who is named for it in the audit trail


class Arriving(msgspec.Struct, frozen=True, tag="arriving"):
    """Mount to importer: import this as the caller asks for it. The descriptor of its directory comes with it."""

    id: int  # of the same row as those of Ask
    request: Import
    caller: Caller


class Trashing(msgspec.Struct, frozen=True, tag="trashing"):
    """Mount to importer: see to this request about deleting. Answered by what `TrashDesk` tells."""

    id: int  # of the same row as those of Ask
    request: TrashRequest
    uid: int  # who asks
    audit_uid: int  # who is named for it in the audit trail


class Growing(msgspec.Struct, frozen=True, tag="growing"):
    """Mount to importer, with a descriptor: this file is written from its beginning on, and long already."""


class Deeds(msgspec.Struct, frozen=True, tag="deeds"):
    """Mount to importer: write these into the audit trail."""

    id: int
    deeds: tuple[Deed, ...]


class ListTables(msgspec.Struct, frozen=True, tag="tables"):
    """Mount to importer: which tables are registered? Answered by a list of Table."""

    id: int  # of the same row as those of Ask, as in the next three


class RegisterTable(msgspec.Struct, frozen=True, tag="register"):
    """Mount to importer: register this array, whose token is proved. Answered by its Table, or null."""

    id: int
    new: NewTable
    actor_uid: int  # who asks
    only_check: bool = False  # whether it could be registered


class UnregisterTable(msgspec.Struct, frozen=True, tag="unregister"):
    """Mount to importer: this is no table any more. Answered by null."""

    id: int
    table: Table
    actor_uid: int


class TableIs(msgspec.Struct, frozen=True, tag="table is"):
    """Mount to importer: so the table is now: its place, its array, its token, its state. Answered by null."""

    id: int
    table: Table
    rotated_by: int | None = None  # who has given it another token


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Importer to mount: the one answer to the message of that id."""

    id: int
    json: str | None  # None: refused, as *error* and *errno* say
    error: str | None = None
    errno: int = errno.ENOENT


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Importer to mount: what an earlier life left half done is undone or finished; hand me drops."""

    people: People


class PeopleAre(msgspec.Struct, frozen=True, tag="people"):
    """Importer to mount: from now on. It comes before the answer to the request that has changed them."""

    people: People


class Happened(msgspec.Struct, frozen=True, tag="happened"):
    """Importer to mount: imports have ended. After a restart of the process some of it is told again."""

    news: tuple[News, ...]


class Marked(msgspec.Struct, frozen=True, tag="marked"):
    """Importer to mount: the marks of these inodes are others by now."""

    inodes: tuple[int, ...]


class NotReady(msgspec.Struct, frozen=True, tag="not ready"):
    """Importer to mount: it cannot start, and ends now."""

    error: str  # one sentence


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Either way: the repository's disk has failed. Nothing is written any more."""

    error: str  # one sentence: what has happened, and what to do


class Holdings(msgspec.Struct, frozen=True, tag="holdings"):
    """Importer to mount: so many bytes the originals held before this process imported any."""

    held: tuple[Held, ...]


class Coming(msgspec.Struct, frozen=True, tag="coming"):
    """Importer to mount: may these bytes be copied into the repository? Answered by a Room; then they are counted."""

    id: int  # of a row of its own
    held: Held


class Room(msgspec.Struct, frozen=True, tag="room"):
    """Mount to importer: the one answer to the Coming of that id."""

    id: int
    refusal: str | None  # None: there is room


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """Importer to mount: so much is held more, or less."""

    changes: tuple[Held, ...]
    inodes: tuple[int, ...] = ()  # of files that were drops and are originals now


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Mount to importer: finish what is in hand, give the rest back, and end."""


Question = Ask | View | SumUp | AskVerified

TableMessage = ListTables | RegisterTable | UnregisterTable | TableIs

Message = (
    Handed
    | Growing
    | Done
    | Ask
    | View
    | SumUp
    | Stands
    | Committed
    | AskVerified
    | Administer
    | Arriving
    | Trashing
    | Deeds
    | Move
    | ListTables
    | RegisterTable
    | UnregisterTable
    | TableIs
    | Answer
    | Ready
    | PeopleAre
    | Happened
    | Marked
    | Holdings
    | Coming
    | Room
    | Counted
    | NotReady
    | Failed
    | Stop
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


class Hangup(Exception):
    """The other side has closed the socket or died."""


class Channel:
    """One end of the socket. Any number of tasks may send, one receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = trio.socket.from_stdlib_socket(sock)
        self._sending = trio.Lock()  # trio lets only one task at a time wait for a socket to take more

    async def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send *message*; the caller keeps its *descriptors*. Raises Hangup."""
        payload = _encode(message)
        if len(payload) <= INLINE_BYTES:
            await self._send_packet(_INLINE + payload, descriptors)
            return
        memory_file = _memory_file(payload)
        try:
            await self._send_packet(_MEMORY_FILE, (memory_file, *descriptors))
        finally:
            os.close(memory_file)

    async def _send_packet(self, packet: bytes, descriptors: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            async with self._sending:
                await self._sock.sendmsg([packet], rights)
        except (BrokenPipeError, ConnectionResetError):
            raise Hangup from None

    async def receive(self) -> tuple[Message, list[int]]:
        """Return the next message and its descriptors, which are then the caller's to close. Raises Hangup.

        A process that has too few left gets the message with the first of them.
        """
        try:
            packet, ancillary, _flags, _ = await self._sock.recvmsg(
                INLINE_BYTES + 1, socket.CMSG_SPACE(DESCRIPTORS * _INT_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            raise Hangup from None
        if not packet:
            raise Hangup
        descriptors = [fd for _level, _type, data in ancillary for fd in _integers(data)]
        if packet[:1] == _INLINE:
            return _decode(memoryview(packet)[1:]), descriptors
        if not descriptors:
            raise OSError("a long message came without its memory file: this process has too many files open")
        return _decode(_take_whole(descriptors.pop(0))), descriptors

    def close(self) -> None:
        """Close this end; the other sees Hangup."""
        self._sock.close()


def _integers(data: bytes) -> Sequence[int]:
    integers = array.array("i")
    integers.frombytes(data[: len(data) - len(data) % _INT_BYTES])
    return integers


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("message")
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return fd


def _take_whole(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)  # the sender's offset came with the descriptor
        return file.read()
