"""What `repofs usage` tells: sums of the catalogue and of the mount, put together by whatever was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from enum import StrEnum

import msgspec

from repofs.people import People
from repofs.quotas import Held
from repofs.views import Seen


class By(StrEnum):
    """By what the bytes are told apart."""

    USER = "user"
    GROUP = "group"
    TARGET = "target"  # the first dataset that a fileset is in, with its project
    TRANSFER = "transfer"
    STATE = "state"


class Sums(msgspec.Struct, frozen=True):
    """What is to be summed up, and for whom."""

    by: By
    seen: Seen


@dataclass(slots=True)
class Sum:
    """Bytes and files of one key: a user directory, a gid, else a name in UTF-8; None: of what has no such thing."""

    key: bytes | int | None
    originals: int = 0  # bytes in the repository
    original_files: int = 0
    outside: int = 0  # bytes of originals that stay where they are: no quota counts them
    trash: int = 0
    trash_files: int = 0
    drops: int = 0
    drop_files: int = 0

    @property
    def total(self) -> int:
        """Bytes in the repository."""
        return self.originals + self.trash + self.drops

    @property
    def files(self) -> int:
        return self.original_files + self.trash_files + self.drop_files

    def add(self, other: Sum) -> None:
        for field in fields(self)[1:]:
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def told(self) -> dict[str, object]:
        """Return the numbers, as JSON has them."""
        numbers = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        return {**numbers, "total": self.total, "files": self.files}


def report(
    by: By, sums: Iterable[Sum], drops: Iterable[Held], people: People, quota: Callable[[bytes | int], int | None]
) -> dict[str, object]:
    """Return ``{"by": …, "rows": […], "total": {…}}``, the largest first.

    *quota* is asked what each user directory and each gid may hold: bytes, or None.
    """
    rows: dict[str | None, Sum] = {}
    quotas: dict[str | None, int | None] = {}
    total = Sum(None)
    for one in (*sums, *(_of(by, held, people) for held in drops)):
        name = _name(by, one.key, people)
        rows.setdefault(name, Sum(one.key)).add(one)
        total.add(one)
        if one.key is not None and by in (By.USER, By.GROUP):
            quotas[name] = quota(one.key)
    ordered = sorted(rows.items(), key=lambda item: (-item[1].total, item[0] or ""))
    shown = [{str(by): name, **row.told(), **_quota(name, quotas)} for name, row in ordered]
    return {"by": by, "rows": shown, "total": total.told()}


def _quota(name: str | None, quotas: dict[str | None, int | None]) -> dict[str, object]:
    return {"quota": quotas[name]} if name in quotas else {}


def _of(by: By, held: Held, people: People) -> Sum:
    key: bytes | int | None = None
    if by is By.USER:
        key = held.user_directory
    elif by is By.GROUP:
        key = people.group_of(held.user_directory, held.gid)
    elif by is By.STATE:
        key = b"not imported"
    return Sum(key, drops=held.drops, drop_files=held.drop_files)


def _name(by: By, key: bytes | int | None, people: People) -> str | None:
    if isinstance(key, int):
        return people.group_name(key)
    if key is None or by is By.USER:
        return None if key is None else people.user_name(key)
    return key.decode()
