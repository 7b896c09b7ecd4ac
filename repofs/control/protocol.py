"""What travels over the control socket: one JSON request a line, one JSON answer a line, any number a connection.

{"request": {"type": "user.add", "name": "alice"}, "audit_uid": 1000}
{"request": {"type": "import", "directory": "L2RhdGE=", "name": "c2Nhbi50aWY="}}    and a descriptor (SCM_RIGHTS)
{"request": {"type": "delete", "what": "Fileset:17"}}
{"request": {"type": "session.create", "user": "alice"}}
{"request": {"type": "originals.found", "inodes": [17]}}
{"result": {"user": "alice", …}}    or    {"error": {"errno": 13, "message": "…"}}
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from repofs.administration.requests import Name, Number, Request
from repofs.errors import InvalidValue, RepofsError, told
from repofs.importer.requests import Import, TrashRequest
from repofs.usage import By

MOST_BYTES = 64 << 10  # of a request, with its newline


class CreateSession(msgspec.Struct, frozen=True, tag="session.create"):
    """Begin a session of the HTTPS door."""

    user: Name | None = None  # whose it is to be; None: the caller's


class OriginalsFound(msgspec.Struct, frozen=True, tag="originals.found"):
    """A command has looked at originals and written how it found them: on these inodes, and in the catalogue."""

    inodes: Annotated[tuple[int, ...], Meta(max_length=1024)]


class ShowUsage(msgspec.Struct, frozen=True, tag="usage"):
    """Tell how much is held of what the caller may view."""

    by: By = By.USER


class Call(msgspec.Struct, frozen=True):
    """A request, and who is named for it in the audit trail: the caller, if nobody; by root, who called sudo."""

    request: Request | Import | TrashRequest | CreateSession | OriginalsFound | ShowUsage
    audit_uid: Number | None = None


_decode = msgspec.json.Decoder(Call).decode
_encode = msgspec.json.Encoder().encode


def call_line(call: Call) -> bytes:
    """Return *call* as a line."""
    return _encode(call) + b"\n"


def read_call(line: bytes) -> Call:
    """Return what *line* asks for; InvalidValue when it is no request."""
    try:
        return _decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidValue(f"this is no request: {error}") from None


def result_line(result: str) -> bytes:
    """Return the answer *result*, a JSON value, as a line."""
    return b'{"result": %s}\n' % result.encode()


def error_line(error: RepofsError) -> bytes:
    """Return a refusal as a line."""
    return json.dumps({"error": {"errno": error.errno, "message": error.message}}).encode() + b"\n"


def read_answer(line: bytes) -> Any:
    """Return the result that *line* tells, as JSON has it; raises the RepofsError that it tells."""
    answer = json.loads(line)
    if "error" in answer:
        raise told(answer["error"]["errno"], answer["error"]["message"])
    return answer["result"]
