"""What the pipeline asks of the catalogue, each for many imports in one transaction (`commits.Act`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from repofs.administration.user_directories import UserDirectories
from repofs.catalog import audit, containers, filesets, holdings, ids, imports, moves, tables, users, verification
from repofs.catalog.containers import Home, Target
from repofs.catalog.engine import Connection
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.imports import NewImport
from repofs.catalog.users import Experimenter, Group
from repofs.catalog.verification import Found
from repofs.deeds import Deed
from repofs.errors import InvalidValue, NotFound
from repofs.fault_points import Step, passed
from repofs.importer.wire import Move
from repofs.lifecycle import State
from repofs.model import ExperimenterId, FilesetId, GroupId, Identity, ImportId, ObjectRef
from repofs.people import Actor
from repofs.quotas import Held, less


@dataclass(frozen=True, slots=True)
class Intent:
    """A drop that is about to be imported."""

    user_directory: bytes
    path: bytes
    identity: Identity  # of the file, or of what it is a stand-in of
    actor_uid: int
    gid: int  # the group that the drop belongs to
    transfer: str
    attempts: int
    started: str  # ISO 8601, UTC
    source: bytes | None
    needs: Needs | None = None  # to be reserved with it; None: something has to be found out first


class Needs(NamedTuple):
    """How many ids an import needs, besides one for its fileset, and what it is to be attached to."""

    originals: int
    images: int
    target: Target | None


@dataclass(frozen=True, slots=True)
class Begun:
    """An import that the catalogue knows, and whose it is."""

    id: ImportId
    owner: Experimenter
    group: Group
    intent: NewImport
    ids: Ids | None = None  # None: not reserved yet


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an import needs, and whose it is."""

    needs: Needs
    owner: ExperimenterId
    group: GroupId


@dataclass(frozen=True, slots=True)
class Ids:
    fileset: int
    originals: range
    images: range
    home: Home | None


@dataclass(frozen=True, slots=True)
class Ending:
    """An import that is not to become imported."""

    id: ImportId
    state: State
    error: str


class Owners:
    """Whose a user directory is: the experimenter for whom the template makes its name."""

    def __init__(self, directories: UserDirectories) -> None:
        self._directories = directories

    def read(self, conn: Connection) -> dict[bytes, tuple[Experimenter, Group]]:
        """Return the active experimenters and their groups, as of now, by user directory."""
        groups = {group.id: group for group in users.groups(conn)}
        pairs = [(person, groups[person.group_id]) for person in users.experimenters(conn)]
        return {os.fsencode(self._directories.name(*pair)): pair for pair in pairs}

    def begin(self, conn: Connection, items: Sequence[Intent]) -> Sequence[Begun | Exception]:
        """Write the intent rows, and reserve what each needs that knows it; NotFound for a drop in nobody's directory.

        What cannot be reserved is left for `reserve` to say why.
        """
        known, groups = self.read(conn), {group.gid: group for group in users.groups(conn)}
        owned = [
            (one, person, groups.get(one.gid, home))
            for one in items
            if one.user_directory in known
            for person, home in [known[one.user_directory]]
        ]
        rows = [_new(one, person.id, group.gid) for one, person, group in owned]
        new = zip(imports.begin(conn, rows), owned, rows, strict=True)
        wanted = [Wanted(one.needs, person.id, group.id) for one, person, group in owned if one.needs is not None]
        reserved = iter(reserve(conn, wanted))
        begun = iter(
            Begun(number, person, group, row, None if one.needs is None else _ids(next(reserved)))
            for number, (one, person, group), row in new
        )
        return [next(begun) if one.user_directory in known else _nobodys(one) for one in items]


def _new(one: Intent, owner: ExperimenterId, gid: int) -> NewImport:
    return NewImport(
        owner=owner,
        user_directory=one.user_directory,
        path=one.path,
        device=one.identity.device,
        inode=one.identity.inode,
        size=one.identity.size,
        mtime_ns=one.identity.mtime_ns,
        transfer=one.transfer,
        actor_uid=one.actor_uid,
        attempts=one.attempts,
        started=one.started,
        gid=gid,
        source=one.source,
    )


def _ids(reserved: Ids | Exception) -> Ids | None:
    return reserved if isinstance(reserved, Ids) else None


def _nobodys(one: Intent) -> NotFound:
    name = one.user_directory.decode(errors="backslashreplace")
    return NotFound(f"{name} is the directory of no experimenter: add one with repofs user add, then retry")


def check_targets(conn: Connection, items: Sequence[tuple[Target, Actor, ExperimenterId, GroupId]]) -> Sequence[None]:
    """Refuse (NotFound, AccessDenied, InvalidValue) targets that are not there or not the owner's to add to."""
    for target, actor, owner, group_id in items:
        containers.check_target(conn, target, actor, owner, group_id)
    return [None] * len(items)


def find_duplicates(conn: Connection, items: Sequence[tuple[ExperimenterId, int, str]]) -> Sequence[ObjectRef | None]:
    """Return for each (owner, size, checksum) the fileset that has these bytes, or None."""
    return [filesets.find_duplicate(conn, *item) for item in items]


def reserve(conn: Connection, items: Sequence[Wanted]) -> Sequence[Ids | Exception]:
    """Reserve the ids of many imports, each its own in a row, and find or make the datasets that they go into.

    An import that comes to nothing after this leaves its new dataset empty, for when it is tried again.
    """
    if not items:
        return []
    fileset = iter(ids.reserve(conn, "Fileset", len(items)))
    original = ids.reserve(conn, "OriginalFile", sum(one.needs.originals for one in items)).start
    image = ids.reserve(conn, "Image", sum(one.needs.images for one in items)).start
    home = _Homes(conn)
    reserved: list[Ids | Exception] = []
    for one in items:
        originals, images = range(original, original + one.needs.originals), range(image, image + one.needs.images)
        original, image = originals.stop, images.stop
        try:
            reserved.append(Ids(next(fileset), originals, images, home.of(one)))
        except InvalidValue as error:
            reserved.append(error)
    return reserved


class _Homes:
    """Looks targets up in one transaction, each that means the same each time only once."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._known: dict[tuple[Target, ExperimenterId, GroupId], Home] = {}

    def of(self, one: Wanted) -> Home | None:
        """Return where the images of an import go, made if it is new; None for nowhere. Raises InvalidValue."""
        target = one.needs.target
        if target is None or not one.needs.images:
            return None
        key = target, one.owner, one.group
        if target.makes_new or key not in self._known:
            self._known[key] = containers.home(self._conn, containers.dataset_for(self._conn, *key))
        return self._known[key]


def record(conn: Connection, items: Sequence[FinishedImport]) -> Sequence[None]:
    """Write the final rows. Their commit is the moment of import."""
    filesets.record(conn, items)
    passed(Step.ROWS_WRITTEN)
    return [None] * len(items)


def end(conn: Connection, items: Sequence[Ending]) -> Sequence[bool]:
    """Take imports from importing to another state; False for one that is not importing any more."""
    return [imports.advance(conn, one.id, State.IMPORTING, one.state, error=one.error) for one in items]


Moved = tuple[list[moves.Place], list[Held]]
"""Where filesets lie, and what is held more and less since they were moved."""


def move(conn: Connection, items: Sequence[Move]) -> Sequence[Moved | Exception]:
    """Move filesets to other groups; NotFound for a group that is none."""
    groups = {group.gid: group for group in users.groups(conn)}
    answers: list[Moved | Exception] = []
    for one in items:
        if one.gid not in groups:
            answers.append(NotFound(f"gid {one.gid} is no group of the repository"))
            continue
        group = groups[one.gid]
        moved = [FilesetId(number) for number in one.filesets]
        changes = _changes(holdings.held_by(conn, moved), one.gid)
        answers.append((moves.move(conn, moved, group.id), changes))
        detail = {"group": group.name, "filesets": len(one.filesets)}
        audit.record(conn, one.actor_uid, "chgrp", None, detail, path=one.path)
    tables.follow(conn)
    return answers


def _changes(before: list[Held], gid: int) -> list[Held]:
    return less(before) + [replace(one, gid=gid) for one in before]


def found(conn: Connection, items: Sequence[Sequence[Found]]) -> Sequence[Sequence[bool]]:
    """Write how originals were found; False for one that has gone."""
    return [verification.record(conn, one) for one in items]


def keep(conn: Connection, items: Sequence[Sequence[Deed]]) -> Sequence[int]:
    """Write deeds into the audit trail; return how many of each item."""
    audit.add(conn, [deed for deeds in items for deed in deeds])
    return [len(deeds) for deeds in items]
