"""Experimenters, groups and who belongs to which."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from repofs.catalog.forms import now
from repofs.catalog.ids import following, reserve
from repofs.catalog.schema import experimenters as _experimenters
from repofs.catalog.schema import groups as _groups
from repofs.catalog.schema import memberships as _memberships
from repofs.errors import AlreadyExists, InvalidValue, NotFound
from repofs.model import ExperimenterId, GroupId, PermissionLevel

VERSION = "People"  # the counter of changes, among those of ids


@dataclass(frozen=True, slots=True)
class Experimenter:
    id: ExperimenterId
    user_name: str
    uid: int
    group_id: GroupId  # the group that new imports belong to
    removed: str | None = None  # when; None: active


@dataclass(frozen=True, slots=True)
class Group:
    id: GroupId
    name: str
    gid: int
    level: PermissionLevel


@dataclass(frozen=True, slots=True)
class Membership:
    experimenter_id: ExperimenterId
    group_id: GroupId
    owner: bool
    removed: str | None = None  # when she was taken out, which counts above the Unix group; None: a member


@dataclass(frozen=True, slots=True)
class Everybody:
    """All that the catalogue knows of people."""

    version: int  # counts the changes
    groups: tuple[Group, ...]
    experimenters: tuple[Experimenter, ...]  # former ones too
    memberships: tuple[Membership, ...]


def everybody(conn: Connection) -> Everybody:
    return Everybody(
        following(conn)[VERSION],
        tuple(groups(conn)),
        tuple(experimenters(conn, removed=True)),
        tuple(memberships(conn)),
    )


# --- experimenters -------------------------------------------------------------------------------


def add_experimenter(conn: Connection, user_name: str, uid: int, group_id: GroupId) -> Experimenter:
    """Make the Unix account *uid* an experimenter and a member of the group; return it.

    One who was removed and has this name and uid is active again, with the data of then.
    Raises AlreadyExists when an active experimenter has the name or the uid, NotFound without such a group.
    """
    group_by_id(conn, group_id)
    for other in experimenters(conn):
        if user_name == other.user_name or uid == other.uid:
            raise AlreadyExists(f"{other.user_name} with uid {other.uid} is already Experimenter:{other.id}")
    former = _find(conn, _experimenters.c.user_name == user_name, _experimenters.c.uid == uid)
    if former:
        known = former[-1].id
        back = update(_experimenters).where(_experimenters.c.id == known).values(removed=None, group_id=group_id)
        conn.execute(back)
    else:
        known = ExperimenterId(reserve(conn, "Experimenter", 1)[0])
        conn.execute(insert(_experimenters).values(id=known, user_name=user_name, uid=uid, group_id=group_id))
    _changed(conn)
    joined = _membership(conn, known, group_id)
    if joined is None or joined.removed is not None:
        add_member(conn, known, group_id)
    return experimenter_by_id(conn, known)


def remove_experimenter(conn: Connection, experimenter_id: ExperimenterId) -> None:
    """Take the right to use the repository from an active experimenter; the data stay. Raises NotFound.

    Who is added again is in the groups of before, and owns none.
    """
    result = conn.execute(
        update(_experimenters)
        .where(_experimenters.c.id == experimenter_id, _experimenters.c.removed.is_(None))
        .values(removed=now())
    )
    if not result.rowcount:
        raise NotFound(f"Experimenter:{experimenter_id} is not there, or was removed before")
    conn.execute(update(_memberships).where(_memberships.c.experimenter_id == experimenter_id).values(owner=False))
    _changed(conn)


def experimenters(conn: Connection, *, removed: bool = False) -> list[Experimenter]:
    """Return the active experimenters by id; with *removed*, the former ones too."""
    return _find(conn) if removed else _find(conn, _experimenters.c.removed.is_(None))


def experimenter_by_id(conn: Connection, experimenter_id: ExperimenterId) -> Experimenter:
    """Return an experimenter, active or removed; NotFound."""
    found = _find(conn, _experimenters.c.id == experimenter_id)
    if not found:
        raise NotFound(f"there is no Experimenter:{experimenter_id}")
    return found[0]


def experimenter_by_name(conn: Connection, user_name: str) -> Experimenter:
    """Return the active experimenter of this name; NotFound."""
    found = _find(conn, _experimenters.c.user_name == user_name, _experimenters.c.removed.is_(None))
    if not found:
        raise NotFound(f"{user_name} is no experimenter: repofs user list shows who is, repofs user add adds one")
    return found[0]


def _find(conn: Connection, *where: ColumnElement[bool]) -> list[Experimenter]:
    rows = conn.execute(select(_experimenters).where(*where).order_by(_experimenters.c.id))
    return [Experimenter(row.id, row.user_name, row.uid, row.group_id, row.removed) for row in rows]


# --- groups --------------------------------------------------------------------------------------


def add_group(conn: Connection, name: str, gid: int, level: PermissionLevel) -> Group:
    """Make a group of the Unix group *gid* and return it; AlreadyExists when its name or gid is taken."""
    for other in groups(conn):
        if name == other.name or gid == other.gid:
            raise AlreadyExists(f"{other.name} with gid {other.gid} is already ExperimenterGroup:{other.id}")
    group = Group(GroupId(reserve(conn, "ExperimenterGroup", 1)[0]), name, gid, level)
    conn.execute(insert(_groups).values(id=group.id, name=name, gid=gid, level=level.value))
    _changed(conn)
    return group


def groups(conn: Connection) -> list[Group]:
    """Return all groups by id."""
    return [_group(row) for row in conn.execute(select(_groups).order_by(_groups.c.id))]


def group_by_id(conn: Connection, group_id: GroupId) -> Group:
    """Return a group; NotFound."""
    row = conn.execute(select(_groups).where(_groups.c.id == group_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no ExperimenterGroup:{group_id}")
    return _group(row)


def group_by_name(conn: Connection, name: str) -> Group:
    """Return the group of this name; NotFound."""
    row = conn.execute(select(_groups).where(_groups.c.name == name)).one_or_none()
    if row is None:
        raise NotFound(f"{name} is no group: repofs group list shows them, repofs group add adds one")
    return _group(row)


def set_permissions(conn: Connection, group_id: GroupId, level: PermissionLevel) -> Group:
    """Give the group another level and return it; NotFound."""
    conn.execute(update(_groups).where(_groups.c.id == group_id).values(level=level.value))
    _changed(conn)
    return group_by_id(conn, group_id)


def _group(row: Row[tuple[object, ...]]) -> Group:
    return Group(row.id, row.name, row.gid, PermissionLevel(row.level))


# --- memberships ---------------------------------------------------------------------------------


def memberships(conn: Connection) -> list[Membership]:
    """Return who was put into which group, or taken out, by group and experimenter. Of others the Unix group tells."""
    rows = conn.execute(select(_memberships).order_by(_memberships.c.group_id, _memberships.c.experimenter_id))
    return [_of(row) for row in rows]


def add_member(
    conn: Connection, experimenter_id: ExperimenterId, group_id: GroupId, *, owner: bool = False
) -> Membership:
    """Put the experimenter into the group, or make a member its owner, or an owner an ordinary member again.

    Returns the membership; raises NotFound, AlreadyExists when it is so already.
    """
    person, group = experimenter_by_id(conn, experimenter_id), group_by_id(conn, group_id)
    wanted = Membership(experimenter_id, group_id, owner)
    if _membership(conn, experimenter_id, group_id) == wanted:
        raise AlreadyExists(f"{person.user_name} is already {'an owner' if owner else 'a member'} of {group.name}")
    _write(conn, wanted)
    return wanted


def remove_member(conn: Connection, experimenter_id: ExperimenterId, group_id: GroupId) -> None:
    """Take the experimenter out of the group, whatever the Unix group says.

    Raises NotFound for who was taken out before, InvalidValue for the group of their imports.
    """
    person, group = experimenter_by_id(conn, experimenter_id), group_by_id(conn, group_id)
    if person.group_id == group_id:
        raise InvalidValue(f"{person.user_name}'s imports belong to {group.name}: a member can only leave other groups")
    known = _membership(conn, experimenter_id, group_id)
    if known is not None and known.removed is not None:
        raise NotFound(f"{person.user_name} is no member of {group.name}")
    _write(conn, Membership(experimenter_id, group_id, False, removed=now()))


def _membership(conn: Connection, experimenter_id: ExperimenterId, group_id: GroupId) -> Membership | None:
    row = conn.execute(select(_memberships).where(_is(experimenter_id, group_id))).one_or_none()
    return _of(row) if row else None


def _write(conn: Connection, wanted: Membership) -> None:
    conn.execute(delete(_memberships).where(_is(wanted.experimenter_id, wanted.group_id)))
    conn.execute(insert(_memberships).values(asdict(wanted)))
    _changed(conn)


def _of(row: Row[tuple[object, ...]]) -> Membership:
    return Membership(row.experimenter_id, row.group_id, row.owner, row.removed)


def _is(experimenter_id: ExperimenterId, group_id: GroupId) -> ColumnElement[bool]:
    return and_(_memberships.c.experimenter_id == experimenter_id, _memberships.c.group_id == group_id)


def _changed(conn: Connection) -> None:
    reserve(conn, VERSION, 1)
