"""What the daemon and the processes that look into arrays say to each other.

    daemon ──Task, Job──▶ child ──Answer──▶ daemon      [length of the rest, 4 bytes][MessagePack]

A child (`repofs.confinement.forking`) is given the array's directory, unless that is in a store or yet to be made, and
the file or pipe that an Export fills.
"""

from __future__ import annotations

import struct

import msgspec

from repofs.errors import InvalidValue, RepofsError, told
from repofs.table import Column, Examined, Form, Secret, Selection

HEADER = struct.Struct("<I")
TASK_BYTES = 1 << 20
ANSWER_BYTES = 4 << 20


class Examine(msgspec.Struct, frozen=True, tag="examine"):
    """What is this array? Answered by Found."""


class Rotate(msgspec.Struct, frozen=True, tag="rotate"):
    """Give it another token. Answered by Done."""

    token: bytes

    def __repr__(self) -> str:
        return "Rotate(***)"


class Export(msgspec.Struct, frozen=True, tag="export"):
    """Write of it what is selected. Answered by Done when all is written."""

    form: Form
    selection: Selection


class Create(msgspec.Struct, frozen=True, tag="create"):
    """Make an array of a file; both by their absolute paths. Answered by Made."""

    source: bytes
    target: bytes


class ListFiles(msgspec.Struct, frozen=True, tag="list"):
    """What lies in a directory of a store? Answered by Listed."""

    uri: str


class ReadFile(msgspec.Struct, frozen=True, tag="read"):
    """Give bytes of a file of a store. Answered by Bytes."""

    uri: str
    offset: int
    size: int


Job = Examine | Rotate | Export | Create | ListFiles | ReadFile


class Task(msgspec.Struct, frozen=True):
    """How the jobs that follow are to be done."""

    who: tuple[int, int, tuple[int, ...]] | None  # uid, gid, groups; None: nobody
    memory_bytes: int  # beyond what the parent has mapped
    cpu_seconds: int | None  # None: without end
    uri: str | None = None  # of an array in a store; "": files of any; None: it is in no store
    s3: dict[str, str] = {}  # TileDB's settings of that store
    port: int | None = None  # of that store

    def __repr__(self) -> str:
        return "Task(***)"  # not the credentials


class Found(msgspec.Struct, frozen=True, tag="found"):
    """What an array is."""

    token: bytes | None
    rows: int
    columns: tuple[Column, ...]
    manifest: str

    def __repr__(self) -> str:
        return "Found(***)"

    @classmethod
    def of(cls, examined: Examined) -> Found:
        token = None if examined.token is None else examined.token.reveal()
        return cls(token, examined.rows, examined.columns, examined.manifest)

    def examined(self) -> Examined:
        """Return the same with its token wrapped."""
        return Examined(None if self.token is None else Secret(self.token), self.rows, self.columns, self.manifest)


class Made(msgspec.Struct, frozen=True, tag="made"):
    """The token of the array that was made."""

    token: bytes

    def __repr__(self) -> str:
        return "Made(***)"


class File(msgspec.Struct, frozen=True, array_like=True):
    """A name in a directory."""

    name: bytes
    is_directory: bool
    size: int  # bytes


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """What lies in a directory."""

    files: tuple[File, ...]


class Bytes(msgspec.Struct, frozen=True, tag="bytes"):
    """What was read."""

    content: bytes


class Done(msgspec.Struct, frozen=True, tag="done"):
    """It is done."""


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It cannot be done."""

    errno: int
    message: str

    def error(self) -> RepofsError:
        """Return the error that was meant."""
        return told(self.errno, self.message)


Answer = Found | Made | Listed | Bytes | Done | Refused

_encode = msgspec.msgpack.Encoder().encode
read_task = msgspec.msgpack.Decoder(Task).decode
read_job = msgspec.msgpack.Decoder(Job).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def pack(message: Task | Job | Answer, most: int) -> bytes:
    """Return *message* with its header. Raises InvalidValue when it is longer than *most*, or has text that is none."""
    try:
        body = _encode(message)
    except UnicodeEncodeError:
        raise InvalidValue("there is text in it that is none") from None
    if len(body) > most:
        raise InvalidValue(f"there are {len(body)} bytes to be said of it, {most} are allowed")
    return HEADER.pack(len(body)) + body


def body_bytes(header: bytes, most: int) -> int:
    """Return the length of what follows *header*. Raises InvalidValue when it is above *most*."""
    (length,) = HEADER.unpack(header)
    if length > most:
        raise InvalidValue(f"the answer is too large ({length} bytes, {most} are allowed)")
    return int(length)


def read_answer(body: bytes) -> Answer:
    """Read an Answer. Raises InvalidValue when it is none: its sender may be in a hostile array's hands."""
    try:
        return _decode_answer(body)  # type: ignore[no-any-return]  # of a union
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidValue("the answer makes no sense") from None  # not which: it may hold the token
