"""What people and programs are told of imports: one piece of news each time that one has ended.

News are derived from the rows of imports (`catalog.news`); they go to the mount (`.repofs/events`) and to the hooks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from repofs.lifecycle import State

# `docs/reference/events.md` has the same table.
KINDS: Mapping[State, str] = {
    State.IMPORTED: "it is an original now, or is as it was imported again",
    State.FAILED: "it was not imported; `error` says why and what to do",
    State.DUPLICATE: "its owner has these bytes already, and duplicates are refused",
    State.ALTERED: "an original's bytes, or its source, are not those that were imported, or cannot be read",
    State.MISSING: "an original, or its source, is gone",
    State.OFFLINE: "the store of an original's source is away",
    State.DELETED: "an original's fileset was deleted; `repofs trash restore` brings it back for a while",
}

READ_ONLY = "read-only"  # of the whole repository: its disk has failed, `error` says how and what to do

RECENT = 1000  # pieces of news that a mount keeps
_MOST_TEXT = 1000  # characters of an error


@dataclass(frozen=True, slots=True)
class News:
    """An import has ended, or what was imported has come into another state."""

    number: int  # in the order in which it became so; of one import the newest counts
    importing: int  # the row of imports
    time: str  # ISO 8601, UTC
    kind: str  # one of KINDS, or READ_ONLY
    user: str  # login name of the owner; of the whole repository: root
    user_directory: bytes  # whose data it is follows from it, as in the mount; empty: the whole repository's
    gid: int  # of the group whose level says who else may see it
    actor_uid: int
    path: bytes  # below the user directory, as dropped; of an arrival its name
    source: bytes | None  # of an arrival: SOURCE/PATH or an absolute path; None: *path* is, or was, a name in the mount
    fileset: int | None
    error: str | None  # one sentence
    log: bytes  # below the mount

    def facts(self) -> dict[str, object]:
        """Return what is told, by the keys that programs rely on; names as `os.fsdecode` has them."""
        return {
            "time": self.time,
            "event": str(self.kind),
            "user": self.user,
            "actor_uid": self.actor_uid,
            "path": _text(self.user_directory + b"/" + self.path) if self._has_name else None,
            "source": None if self.source is None else _text(self.source),
            "object": None if self.fileset is None else f"Fileset:{self.fileset}",
            "error": self.error and self.error[:_MOST_TEXT],
            "log": _text(self.log) if self.user_directory else None,
            "import": self.importing if self.user_directory else None,
        }

    @property
    def _has_name(self) -> bool:
        return self.source is None and bool(self.user_directory)

    def line(self) -> bytes:
        """Return the facts as one line of JSON in ASCII, its newline included."""
        return json.dumps(self.facts()).encode() + b"\n"


def read_only(error: str) -> News:
    """Return the news that the repository has just become read-only by *error*. It has no number: no row has it."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return News(0, 0, now, READ_ONLY, "root", b"", 0, 0, b"", None, None, error, b"")


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
