"""The extended attributes that users see: their names, what each is, and how their values are read.

`docs/reference/attributes.md` explains each; a test holds the two together.
"""

from __future__ import annotations

import re
from enum import Enum

from repofs.errors import InvalidValue
from repofs.model import Duplicates, Missing, Policy, Skip
from repofs.table import (
    MOST_TARGETS,
    Registration,
    Secret,
    checked_target,
    checked_token,
    read_json,
    read_registration,
)
from repofs.targets import parse

PREFIX = b"user.repofs."
MARK = PREFIX + b"mark"  # on backing inodes only; never shown
ORIGIN = PREFIX + b"from"  # the same


class Kind(Enum):
    FACT = "fact"  # listed; setting it: ignored on a drop (a copying tool re-issues it), EPERM otherwise
    UNLISTED = "read, unlisted"
    COMMAND = "command"  # never listed, reading answers ENODATA
    SETTING = "setting"  # listed, read and written by the owner


KINDS: dict[str, Kind] = {
    "state": Kind.FACT,
    "error": Kind.FACT,
    "fileset": Kind.FACT,
    "images": Kind.FACT,
    "original": Kind.FACT,
    "checksum": Kind.FACT,
    "transfer": Kind.FACT,
    "imported": Kind.FACT,
    "log": Kind.FACT,
    "owner": Kind.FACT,
    "actor": Kind.FACT,
    "metadata": Kind.UNLISTED,
    "status": Kind.UNLISTED,
    "origin": Kind.UNLISTED,
    "usage": Kind.UNLISTED,
    "quota": Kind.UNLISTED,
    "tables": Kind.UNLISTED,
    "table.id": Kind.FACT,
    "table.name": Kind.FACT,
    "table.targets": Kind.FACT,
    "table.rows": Kind.FACT,
    "table.columns": Kind.FACT,
    "table.state": Kind.FACT,
    "import": Kind.COMMAND,
    "import.link": Kind.COMMAND,
    "group": Kind.COMMAND,
    "table.register": Kind.COMMAND,
    "table.token": Kind.COMMAND,
    "table.create": Kind.COMMAND,
    "table.unregister": Kind.COMMAND,
    "table.rotate": Kind.COMMAND,
    "target": Kind.SETTING,
    "policy": Kind.SETTING,
}


_POLICY_KEYS = ("settle_seconds", "duplicates", "exclude", "marker", "missing", "skip")


class ImportCommand(Enum):
    NOW = "now"
    RETRY = "retry"
    CANCEL = "cancel"


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8").rstrip("\n\0")
    except UnicodeDecodeError as error:
        raise InvalidValue("the value is not UTF-8 text") from error


def decode_import(value: bytes) -> ImportCommand:
    """Read the value of ``user.repofs.import``."""
    text = _text(value)
    try:
        return ImportCommand(text)
    except ValueError:
        raise InvalidValue(f"import={text!r}: allowed are now, retry, cancel") from None


def decode_link(value: bytes) -> tuple[bytes, str]:
    """Read the value of ``user.repofs.import.link``: (absolute path, transfer), from a JSON object."""
    raw = _json_object("import.link", value, ("source", "transfer"), '{"source": "/data/scan.tif", "transfer": "ln"}')
    path, transfer = raw.get("source"), raw.get("transfer", "ln_s")
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise InvalidValue(f"import.link: source = {path!r}: write the whole path of a file or directory")
    if not isinstance(transfer, str):
        raise InvalidValue(f"import.link: transfer = {transfer!r}: write the name of a transfer, for example ln")
    return path.encode("utf-8", "surrogateescape"), transfer


def decode_group(value: bytes) -> str:
    """Read the value of ``user.repofs.group``: the name of a group."""
    text = _text(value)
    if not text:
        raise InvalidValue("group: write the name of a group, for example lab")
    return text


def decode_target(value: bytes) -> str:
    """Read the value of ``user.repofs.target``: see `targets`."""
    text = _text(value)
    parse(text)
    return text


def decode_policy(value: bytes, default: Policy) -> Policy:
    """Read the value of ``user.repofs.policy``, a JSON object, over *default*."""

    raw = _json_object("policy", value, _POLICY_KEYS, '{"settle_seconds": 60}')
    return Policy(
        settle_seconds=_settle(raw.get("settle_seconds", default.settle_seconds)),
        duplicates=_duplicates(raw.get("duplicates", default.duplicates)),
        exclude=_exclude(raw.get("exclude", list(default.exclude))),
        marker=_marker(raw.get("marker", default.marker)),
        missing=_missing(raw.get("missing", default.missing)),
        skip=_skip(raw.get("skip", list(default.skip))),
    )


def decode_registration(value: bytes) -> Registration:
    """Read the value of ``user.repofs.table.register``, a JSON object."""
    return read_registration(_stripped(value), "table.register")


def decode_creation(value: bytes) -> Registration:
    """Read the value of ``user.repofs.table.create``, a JSON object of name and targets."""
    return read_registration(_stripped(value), "table.create", ("name", "targets"))


def decode_token(value: bytes) -> Secret:
    """Read the value of ``user.repofs.table.token`` and ``user.repofs.table.rotate``."""
    return checked_token(_stripped(value))


def decode_table_targets(value: bytes) -> tuple[str, ...]:
    """Read the value of ``user.repofs.target`` of an array: ``Image:101,Image:102``, ``Dataset:name:X``."""
    found = tuple(checked_target(target) for target in _BETWEEN_TARGETS.split(_text(value)))
    if len(found) > MOST_TARGETS:
        raise InvalidValue(f"target: {len(found)} are given, {MOST_TARGETS} are allowed")
    return found


_BETWEEN_TARGETS = re.compile(r",\s*(?=[A-Z][a-z]+:)")  # a name may have a comma


def _stripped(value: bytes) -> bytes:
    return value.rstrip(b"\n\0")  # as editors and C programs end it


def _json_object(attribute: str, value: bytes, known: tuple[str, ...], example: str) -> dict[str, object]:
    """Read *value* as a JSON object that has no keys but those *known*, each once."""
    raw = read_json(_stripped(value), attribute, example)
    unknown = set(raw) - set(known)
    if unknown:
        raise InvalidValue(f"{attribute}: unknown {', '.join(sorted(unknown))}: allowed are {', '.join(known)}")
    return raw


def _settle(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.1 <= value <= 86_400:
        raise InvalidValue(f"policy: settle_seconds = {value!r}: a number from 0.1 to 86400")
    return float(value)


def _duplicates(value: object) -> Duplicates:
    try:
        return Duplicates(str(value))
    except ValueError:
        raise InvalidValue(f"policy: duplicates = {value!r}: allowed are import, refuse") from None


def _exclude(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise InvalidValue('policy: exclude: write a list of patterns, for example ["*.log"]')
    return tuple(value)


def _skip(value: object) -> tuple[Skip, ...]:
    if not isinstance(value, list) or not all(step in tuple(Skip) for step in value):
        raise InvalidValue(f"policy: skip = {value!r}: a list of {', '.join(Skip)}")
    return tuple(map(Skip, value))


def _marker(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[^/\0\ud800-\udfff]+", value):
        raise InvalidValue(f"policy: marker = {value!r}: the name of a file, for example done.txt, or null")
    return value


def _missing(value: object) -> Missing:
    try:
        return Missing(str(value))
    except ValueError:
        raise InvalidValue(f"policy: missing = {value!r}: allowed are fail, wait") from None
