"""What a table is: a TileDB array that is attached to objects; where it lies, what it holds, how it stands, and what
registering one asks for. Plain values that travel between floors."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from repofs.errors import InvalidValue
from repofs.model import ObjectRef

SHOWN_AS = (b"Tables", b"Tables (registered)")  # in a user directory; the second where the first is somebody's of old
MOST_TARGETS = 1000
MOST_NAME_BYTES = 228  # it becomes a file's in Tables/, with a number and a suffix
MOST_URI = 4096
MOST_TOKEN_BYTES = 1024

_KEYS = ("uri", "name", "targets", "token")


class TableState(StrEnum):
    """How the array of a table was found last."""

    REGISTERED = "registered"
    CHANGED = "changed"  # it is not what it was at its registration
    MISMATCH = "mismatch"  # it has another SecretToken than at its registration
    UNREACHABLE = "unreachable"  # its store is away, or it has gone


class Secret:
    """A SecretToken. No text that is made of it, be it of a traceback or a log, has the secret; `reveal` has."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the secret itself: to be compared, hashed, or written into an array."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type: str  # OMERO's kind of column: Long Double Bool String Image Dataset Well Plate Roi; Time for a datetime
    dtype: str  # NumPy's name, or "string"
    nullable: bool = False


Kind = Literal["mount", "source", "store"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies."""

    kind: Kind
    root: str  # the declared source or store, by its name; of the mount ""
    path: bytes  # below the mount, the source or the store's prefix


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found in an array."""

    token: Secret | None
    rows: int
    columns: tuple[Column, ...]
    manifest: str  # JSON: by which a later look tells whether the array has changed


Form = Literal["csv", "parquet", "arrow"]
"""How rows are written: CSV as pandas writes it, Parquet, or a stream of Arrow's IPC format."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a table is read; all of it, if nothing is said."""

    column_names: tuple[str, ...] = ()  # in this order; (): all
    rows: tuple[int, ...] | None = None  # numbers of rows; None: all
    start: int | None = None  # the first row of a range, and the one after its last; instead of `rows`
    stop: int | None = None
    query: str | None = None  # "(area > 50) & (name == who)", see `tables.query`
    variables: Mapping[str, str | int | float | bool] = field(default_factory=dict)  # that the query names


WHOLE = Selection()


@dataclass(frozen=True, slots=True)
class NewTable:
    """An array whose token is proved, and what it is to be registered as."""

    name: str
    user_directory: bytes  # b"alice_2": whose it becomes, and in whose Tables/ it is shown
    uri: str  # as who registers it has written it
    place: Place
    rows: int
    columns: tuple[Column, ...]
    targets: tuple[str, ...]  # "Image:101", "Dataset:name:X"
    manifest: str
    salt: bytes
    digest: bytes  # of the token, see `registration.tokens`; b"": it has none


@dataclass(frozen=True, slots=True)
class Table:
    """A registered table, `FileAnnotation:id`."""

    id: int
    name: str
    user_directory: bytes  # b"alice_2": in whose Tables/ it is shown
    owner_uid: int | None  # None: of a former experimenter
    gid: int  # the group of its targets, which is its own
    uri: str  # as who registered it has written it
    place: Place
    rows: int
    columns: tuple[Column, ...]
    targets: tuple[ObjectRef, ...]
    registered: str  # ISO 8601, UTC
    manifest: str
    salt: bytes
    digest: bytes  # of the token, see `registration.tokens`; b"": it had none
    state: TableState = TableState.REGISTERED

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("FileAnnotation", self.id)


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody asks for: the object that omero2pandas posts, and the token."""

    uri: str | None  # a path or URI; None: the directory that the attribute is set on
    name: str | None  # None: that of the array's directory
    targets: tuple[str, ...]  # "Image:101", "Dataset:name:X"; (): the target of the directory
    token: Secret | None


def read_json(text: bytes, what: str, example: str) -> dict[str, object]:
    """Read a JSON object, each key once. Raises InvalidValue, in a sentence that begins with *what*."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            raise InvalidValue(f"{what}: a key stands twice")
        return dict(pairs)

    try:
        raw = json.loads(text, object_pairs_hook=unique)
    except UnicodeDecodeError:
        raise InvalidValue(f"{what}: not UTF-8 text") from None
    except (ValueError, RecursionError) as error:  # not JSON, a number of 5,000 digits, nested without end
        raise InvalidValue(f"{what}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidValue(f"{what}: write a JSON object, for example {example}")
    return raw


def read_registration(text: bytes, what: str, keys: tuple[str, ...] = _KEYS) -> Registration:
    """Read a JSON object of the *keys* uri, name, targets and token. Raises InvalidValue; never with the token."""
    raw = read_json(text, what, '{"name": "cells", "targets": ["Image:101"]}')
    if set(raw) - set(keys):  # not which: somebody may have mistaken the token for a key
        raise InvalidValue(f"{what}: an unknown key: allowed are {', '.join(keys)}")
    return Registration(
        uri=_text(raw, "uri", what, MOST_URI),
        name=None if raw.get("name") is None else checked_name(_text(raw, "name", what, MOST_NAME_BYTES) or "", what),
        targets=_targets(raw, what),
        token=_token(raw, what),
    )


def _text(raw: Mapping[str, object], key: str, what: str, most: int) -> str | None:
    value = raw.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > most or "\0" in value or _has_surrogate(value):
        raise InvalidValue(f"{what}: {key}: write a text of 1 to {most} characters")
    return value


def checked_name(name: str, what: str) -> str:
    """Return *name* of a table, which becomes one of a directory in Tables/. Raises InvalidValue."""
    if not name.isprintable() or "/" in name or len(name.encode()) > MOST_NAME_BYTES:
        raise InvalidValue(f"{what}: name: up to {MOST_NAME_BYTES} bytes of printable text without /")
    if not name.strip() or name.startswith("."):
        raise InvalidValue(f"{what}: name: write a name that starts with no dot")
    return name


def _targets(raw: Mapping[str, object], what: str) -> tuple[str, ...]:
    targets = raw.get("targets", [])
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise InvalidValue(f'{what}: targets: write a list, for example ["Image:101"]')
    if len(targets) > MOST_TARGETS:
        raise InvalidValue(f"{what}: targets: {len(targets)} are given, {MOST_TARGETS} are allowed")
    for target in targets:
        checked_target(target)
    return tuple(dict.fromkeys(targets))


_TARGET = re.compile(r"(Image|Dataset|Project|Fileset|Plate|Screen|Well|Roi):([1-9][0-9]{0,17}|name:.+)", re.DOTALL)


def checked_target(target: str) -> str:
    """Return *target*, ``Kind:id`` or ``Kind:name:X``. Raises InvalidValue."""
    if len(target) > MOST_URI or _TARGET.fullmatch(target) is None or "\0" in target or _has_surrogate(target):
        raise InvalidValue(f"target={target[:100]!r}: write for example Image:101 or Dataset:name:X")
    return target


def _token(raw: Mapping[str, object], what: str) -> Secret | None:
    token = raw.get("token")
    if token is None:
        return None
    if not isinstance(token, str):
        raise InvalidValue(f"{what}: token: write the SecretToken as a text")
    return checked_token(token.encode("utf-8", "surrogatepass"))


def checked_token(token: bytes) -> Secret:
    """Return *token*. Raises InvalidValue for what can be no SecretToken."""
    if not token or len(token) > MOST_TOKEN_BYTES or b"\0" in token:
        raise InvalidValue(f"a SecretToken has 1 to {MOST_TOKEN_BYTES} bytes, and no NUL")
    return Secret(token)


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
