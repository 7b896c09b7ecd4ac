"""What the importer and a reader process say to each other, over a Unix stream socket.

    [length of the rest, 4 bytes][MessagePack]

    importer  Request, … ─▶         of each, unless it is a directory, the file's descriptor comes with it (SCM_RIGHTS)
                        ◀─ Wanted   any number of times: another file of the fileset, or what there is
              Given   ─▶            with its descriptor
                        ◀─ Answer   one a request, in their order

Bytes in, bytes out: the importer sends and receives them under trio, the reader process blocks.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from repofs.errors import ReaderFailed
from repofs.image import Appearance, Members, Picture, Recognised

HEADER = struct.Struct("<I")
TOGETHER = 16  # requests at most at a time
REQUEST_BYTES = 32 << 20  # a directory of a million names
ANSWER_BYTES = 4 << 20


class Limits(msgspec.Struct, frozen=True):
    """What a reader process may take for one file."""

    memory_bytes: int  # beyond what it has before its first file
    cpu_seconds: int
    answer_bytes: int = ANSWER_BYTES


class Task(StrEnum):
    """What is asked."""

    LOOK = "look"  # which files form one fileset with this one; what it holds, if it stands alone
    READ = "read"  # what the fileset holds
    PICTURE = "picture"  # a thumbnail of one image of it


class Request(msgspec.Struct, frozen=True):
    """Do *task* for the file of the descriptor that comes with this."""

    task: Task
    name: bytes  # below the directory that the fileset lies in; a directory ends in /
    series: int = 0  # of a picture
    appearance: Appearance | None = None  # None: as the file says


class Question(StrEnum):
    HAS = "has"
    NAMES = "names"
    OPEN = "open"


class Wanted(msgspec.Struct, frozen=True, tag="wanted"):
    """The reader asks for another file, or what there is."""

    question: Question
    name: bytes


class Given(msgspec.Struct, frozen=True):
    """The answer to a Wanted; a file's descriptor comes with it."""

    errno: int = 0  # why there is none
    names: tuple[bytes, ...] = ()


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Found this, or *error* says in a sentence why not. Nothing at all: ready for a file."""

    recognised: Recognised | None = None
    members: Members | None = None
    picture: Picture | None = None
    error: str | None = None


READY = Answer()

_encode = msgspec.msgpack.Encoder().encode
_decode_requests = msgspec.msgpack.Decoder(tuple[Request, ...]).decode
_decode_given = msgspec.msgpack.Decoder(Given).decode
_decode_answer = msgspec.msgpack.Decoder(Answer | Wanted).decode


def pack(message: Sequence[Request] | Answer | Wanted | Given) -> bytes:
    """Return *message* with its header, ready to be sent. Raises UnicodeEncodeError on a lone surrogate."""
    body = _encode(message)
    return HEADER.pack(len(body)) + body


def body_bytes(header: bytes, limit: int) -> int:
    """Return the length of what follows *header*; ReaderFailed when it is above *limit*."""
    (length,) = HEADER.unpack(header)
    if length > limit:
        raise ReaderFailed(f"the answer of the reader is too large ({length} bytes, {limit} are allowed)")
    return int(length)


def requests(body: bytes) -> Sequence[Request]:
    """Read Requests; msgspec.MsgspecError when they are none."""
    return _decode_requests(body)


def given(body: bytes) -> Given:
    """Read a Given; msgspec.MsgspecError when it is none."""
    return _decode_given(body)


def answer(body: bytes) -> Answer | Wanted:
    """Read an Answer or a Wanted; ReaderFailed when it is neither (its sender may be in a hostile file's hands)."""
    try:
        answer: Answer | Wanted = _decode_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReaderFailed(f"the answer of the reader makes no sense ({error})") from error
    return answer
