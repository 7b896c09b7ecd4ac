"""What the daemon and the processes that look into arrays say to each other: MessagePack, a message a packet.

    daemon ──Task + descriptors──▶ parent        over the parent's socket (SOCK_SEQPACKET)
    parent ──fork──▶ child ──Begun + its pidfd, then one Answer──▶ daemon     over the task's own socket
    parent ──Ended──▶ daemon                     when the child has

Descriptors of a Task, in this order: the task's socket; the array's directory, unless it is in a store; the file or
pipe that an Export fills.
"""

from __future__ import annotations

import msgspec

from repofs.errors import RepofsError, told
from repofs.table import Column, Examined, Form, Secret, Selection

TASK_BYTES = 128 << 10
ANSWER_BYTES = 4 << 20
DESCRIPTORS = 3


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
    """What lies in a directory of this array in a store? Answered by Listed."""

    below: bytes


class ReadFile(msgspec.Struct, frozen=True, tag="read"):
    """Give bytes of a file of this array in a store. Answered by Bytes."""

    below: bytes
    offset: int
    size: int


Job = Examine | Rotate | Export | Create | ListFiles | ReadFile


class Task(msgspec.Struct, frozen=True):
    """A job, and how it is to be done."""

    number: int
    job: Job
    memory_bytes: int
    cpu_seconds: int
    who: tuple[int, int, tuple[int, ...]] | None  # uid, gid, groups; None: nobody
    uri: str | None = None  # of an array in a store
    s3: dict[str, str] = {}  # TileDB's settings of that store
    port: int | None = None  # of that store

    def __repr__(self) -> str:
        return f"Task({self.number}, {self.job!r})"  # not the credentials


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """The child is there; its pidfd comes with this."""


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
    files: tuple[File, ...]


class Bytes(msgspec.Struct, frozen=True, tag="bytes"):
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


Answer = Begun | Found | Made | Listed | Bytes | Done | Refused


class Ended(msgspec.Struct, frozen=True):
    """The child of a task has ended, with that status of waitpid(2)."""

    number: int
    status: int


pack = msgspec.msgpack.Encoder().encode
read_task = msgspec.msgpack.Decoder(Task).decode
read_answer = msgspec.msgpack.Decoder(Answer).decode
read_ended = msgspec.msgpack.Decoder(Ended).decode
