"""What the importer and a reader process say to each other, over a Unix stream socket.

    [length of the rest, 4 bytes][MessagePack]        a Request bears the file's descriptor (SCM_RIGHTS)

Bytes in, bytes out: the importer sends and receives them under trio, the reader process blocks.
"""

from __future__ import annotations

import struct

import msgspec

from repofs.errors import ReaderFailed
from repofs.model import Recognised

HEADER = struct.Struct("<I")
REQUEST_BYTES = 4096  # a name is at most 255 bytes long
ANSWER_BYTES = 4 << 20


class Limits(msgspec.Struct, frozen=True):
    """What a reader process may take for one file."""

    memory_bytes: int  # beyond what it has before its first file
    cpu_seconds: int
    answer_bytes: int = ANSWER_BYTES


class Request(msgspec.Struct, frozen=True):
    """Read the file of the descriptor that comes with this."""

    name: bytes  # without directories, as in the tree


class Answer(msgspec.Struct, frozen=True):
    """Found this, or *error* says in a sentence why not: one of the two. Neither: ready for a file."""

    recognised: Recognised | None = None
    error: str | None = None


READY = Answer()

_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode


def pack(message: Request | Answer) -> bytes:
    """Return *message* with its header, ready to be sent. Raises UnicodeEncodeError on a lone surrogate."""
    body = _encode(message)
    return HEADER.pack(len(body)) + body


def body_bytes(header: bytes, limit: int) -> int:
    """Return the length of what follows *header*; ReaderFailed when it is above *limit*."""
    (length,) = HEADER.unpack(header)
    if length > limit:
        raise ReaderFailed(f"the answer of the reader is too large ({length} bytes, {limit} are allowed)")
    return int(length)


def request(body: bytes) -> Request:
    """Read a Request; msgspec.MsgspecError when it is none."""
    return _decode_request(body)


def answer(body: bytes) -> Answer:
    """Read an Answer; ReaderFailed when it is none (its sender may be in a hostile file's hands)."""
    try:
        return _decode_answer(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReaderFailed(f"the answer of the reader makes no sense ({error})") from error
