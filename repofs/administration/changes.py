"""Changes of people and groups: who may make them, what each does.

Privileges are OMERO's. As in OMERO, an owner of a group may add members and owners to it and take them out; who they
are and what level the group has is for administrators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from repofs import config
from repofs.access import require_privilege
from repofs.acl import MOST_NAMED
from repofs.administration import roster, unix
from repofs.administration.machine import Machine
from repofs.administration.requests import (
    AddGroup,
    AddMember,
    AddUser,
    Change,
    RemoveMember,
    RemoveUser,
    SetPermissions,
    SetQuota,
)
from repofs.administration.user_directories import UserDirectories
from repofs.catalog import audit, holdings, users
from repofs.catalog.engine import Connection
from repofs.catalog.users import Group
from repofs.errors import AccessDenied, AlreadyExists, InvalidValue, NotFound
from repofs.model import ExperimenterId, GroupId, ObjectRef, PermissionLevel
from repofs.people import Actor, Privilege
from repofs.repository.layout import Layout

Facts = dict[str, object]
"""What was done, for whoever asked; a JSON object."""


@dataclass(frozen=True, slots=True)
class Site:
    """The repository that is changed, and what is known of its machine."""

    layout: Layout
    settings: config.Settings
    machine: Machine


def prepare(site: Site, actor: Actor, change: Change) -> Change:
    """Return *change* with the numbers that the machine has for its names, which `carry_out` then finds in the machine.

    Called before the transaction, as an answer of the machine may take long. Raises AccessDenied for who may not make
    such a change at all, NotFound for a name that the machine does not know, Unreachable.
    """
    require_person(actor)
    match change:
        case AddUser():
            require_privilege(Privilege.MODIFY_USER, actor)
            uid = unix.uid_of(change.name) if change.uid is None else change.uid
            site.machine.learn(uid, change.name)
            return msgspec.structs.replace(change, uid=uid)
        case AddGroup():
            require_privilege(Privilege.MODIFY_GROUP, actor)
            return msgspec.structs.replace(change, gid=unix.gid_of(change.name) if change.gid is None else change.gid)
    return change


def require_person(actor: Actor) -> None:
    """Refuse strangers (AccessDenied)."""
    if actor.name is None:
        raise AccessDenied(f"{actor} is no experimenter: an administrator adds one with repofs user add")


def carry_out(conn: Connection, site: Site, actor: Actor, change: Change, audit_uid: int) -> Facts:
    """Make a prepared *change* in the transaction of *conn*, for *actor*, and return what was done.

    The audit trail names *audit_uid*. Raises AccessDenied, and RepofsError with what is wrong with the change.
    """
    deed = _Deed(conn, site, actor, audit_uid)
    facts = _DEEDS[type(change)](deed, change)
    if not isinstance(change, RemoveUser | RemoveMember):
        deed.require_room()
    if isinstance(change, AddUser):
        facts["directory"] = deed.make_directory(change)  # last: a refusal leaves none behind
    return facts


class _Deed:
    """One change in its transaction."""

    def __init__(self, conn: Connection, site: Site, actor: Actor, audit_uid: int) -> None:
        self._conn = conn
        self._site = site
        self._actor = actor
        self._audit_uid = audit_uid
        self._before = roster.read(conn, site.settings, site.machine)

    # --- people ----------------------------------------------------------------------------------

    def add_user(self, change: AddUser) -> Facts:
        require_privilege(Privilege.MODIFY_USER, self._actor)
        assert change.uid is not None
        self._require_not_herself(change.uid)
        known = self._site.machine.known(change.uid, change.name)
        if known.account is not None and not known.hers:
            raise InvalidValue(f"uid {change.uid} is the account {known.account.name}, not {change.name}")
        group = self._group_of_imports(change.group)
        person = users.add_experimenter(self._conn, change.name, change.uid, group.id)
        target = ObjectRef("Experimenter", person.id)
        self._record("user.add", target, uid=change.uid, group=group.name)
        return {"user": change.name, "uid": change.uid, "object": str(target), "group": group.name}

    def _group_of_imports(self, name: str | None) -> Group:
        """Return the group *name*; without a name the only group, made private and called "default" without any."""
        if name is not None:
            return users.group_by_name(self._conn, name)
        match users.groups(self._conn):
            case []:
                return self._add_group(unix.DEFAULT_GROUP, unix.default_gid(), PermissionLevel.PRIVATE)
            case [only]:
                return only
            case several:
                names = " or ".join(group.name for group in several)
                raise InvalidValue(f"there are several groups: say --group {names}")

    def make_directory(self, change: AddUser) -> str:
        person = users.experimenter_by_name(self._conn, change.name)
        group = users.group_by_id(self._conn, person.group_id)
        directories = UserDirectories(self._site.settings.repository)
        name = directories.name(person, group)
        for other in users.experimenters(self._conn, removed=True):
            theirs = users.group_by_id(self._conn, other.group_id)
            if other.id != person.id and directories.name(other, theirs) == name:
                raise AlreadyExists(
                    f"the directory {name} is that of Experimenter:{other.id}, {other.user_name} with uid {other.uid}:"
                    " a template with %userId% gives each her own"
                )
        return directories.make(self._site.layout, person, group)

    def remove_user(self, change: RemoveUser) -> Facts:
        require_privilege(Privilege.MODIFY_USER, self._actor)
        person = users.experimenter_by_name(self._conn, change.name)
        self._require_not_herself(person.uid)
        users.remove_experimenter(self._conn, person.id)
        target = ObjectRef("Experimenter", person.id)
        self._record("user.remove", target)
        return {"user": change.name, "object": str(target)}

    def _require_not_herself(self, uid: int) -> None:
        """To add oneself is to choose one's groups, which is another privilege."""
        if uid == self._actor.uid:
            require_privilege(Privilege.MODIFY_GROUP, self._actor)

    # --- groups ----------------------------------------------------------------------------------

    def add_group(self, change: AddGroup) -> Facts:
        require_privilege(Privilege.MODIFY_GROUP, self._actor)
        assert change.gid is not None
        group = self._add_group(change.name, change.gid, change.level)
        target = ObjectRef("ExperimenterGroup", group.id)
        self._record("group.add", target, gid=group.gid, level=group.level)
        return {"group": group.name, "gid": group.gid, "object": str(target), "level": group.level}

    def _add_group(self, name: str, gid: int, level: PermissionLevel) -> Group:
        if gid == 0:
            raise InvalidValue("gid 0 is root's and cannot be a group of the repository: make a Unix group for it")
        return users.add_group(self._conn, name, gid, level)

    def set_permissions(self, change: SetPermissions) -> Facts:
        require_privilege(Privilege.MODIFY_GROUP, self._actor)
        group = users.group_by_name(self._conn, change.group)
        users.set_permissions(self._conn, group.id, change.level)
        self._record("group.set-permissions", ObjectRef("ExperimenterGroup", group.id), level=change.level)
        return {"group": group.name, "level": change.level}

    # --- members ---------------------------------------------------------------------------------

    def add_member(self, change: AddMember) -> Facts:
        group = self._group_to_change(change.group)
        person = users.experimenter_by_name(self._conn, change.user)
        users.add_member(self._conn, person.id, group.id, owner=change.owner)
        target = ObjectRef("ExperimenterGroup", group.id)
        self._record("group.add-member", target, user=person.user_name, owner=change.owner)
        return {"group": group.name, "user": person.user_name, "owner": change.owner}

    def remove_member(self, change: RemoveMember) -> Facts:
        group = self._group_to_change(change.group)
        person = users.experimenter_by_name(self._conn, change.user)
        known = self._site.machine.known(person.uid, person.user_name)
        if group.gid not in known.gids and not self._has_row(person.id, group.id):
            raise NotFound(f"{person.user_name} is no member of {group.name}")
        users.remove_member(self._conn, person.id, group.id)
        self._record("group.remove-member", ObjectRef("ExperimenterGroup", group.id), user=person.user_name)
        return {"group": group.name, "user": person.user_name}

    def _has_row(self, person: ExperimenterId, group: GroupId) -> bool:
        return any((row.experimenter_id, row.group_id) == (person, group) for row in users.memberships(self._conn))

    def _group_to_change(self, name: str) -> Group:
        group = next((group for group in self._before.groups.values() if group.name == name), None)
        if group is None or group.gid not in self._actor.owner_of:
            require_privilege(Privilege.MODIFY_GROUP, self._actor)
        return group or users.group_by_name(self._conn, name)

    # --- quotas ----------------------------------------------------------------------------------

    def set_quota(self, change: SetQuota) -> Facts:
        require_privilege(Privilege.MODIFY_GROUP if change.of_group else Privilege.MODIFY_USER, self._actor)
        if change.of_group:
            kind, number = holdings.GROUP, int(users.group_by_name(self._conn, change.name).id)
        else:
            kind, number = holdings.USER, int(users.experimenter_by_name(self._conn, change.name).id)
        if change.default:
            settings = self._site.settings.quota
            size: int | None = settings.group if change.of_group else settings.user
            holdings.forget_quota(self._conn, kind, number)
        else:
            size = change.size
            holdings.set_quota(self._conn, kind, number, size)
        self._record("quota.set", ObjectRef(kind, number), quota=size, default=change.default)
        return {"group" if change.of_group else "user": change.name, "quota": size}

    # --- all -------------------------------------------------------------------------------------

    def _record(self, act: str, target: ObjectRef, **detail: object) -> None:
        audit.record(self._conn, self._audit_uid, act, target, detail)

    def require_room(self) -> None:
        """Refuse (InvalidValue) what would let more people see into a user directory than the kernel can be told."""
        people = roster.people(self._conn, self._site.settings, self._site.machine)
        if len(people.actors) <= MOST_NAMED:
            return
        before = roster.crowds(self._before.people)
        for name, count in roster.crowds(people).items():
            if count > max(MOST_NAMED, before.get(name, 0)):
                raise InvalidValue(
                    f"{count} people would see into {name.decode(errors='backslashreplace')}, and the kernel can be"
                    f" told of {MOST_NAMED} at most: keep the group private, or make smaller groups"
                )


_DEEDS: dict[type[Change], Callable[[_Deed, Any], Facts]] = {
    AddUser: _Deed.add_user,
    RemoveUser: _Deed.remove_user,
    AddGroup: _Deed.add_group,
    SetPermissions: _Deed.set_permissions,
    AddMember: _Deed.add_member,
    RemoveMember: _Deed.remove_member,
    SetQuota: _Deed.set_quota,
}
