"""The lists of people and groups, as `repofs user list` and `repofs group list` show them."""

from __future__ import annotations

from repofs.administration.changes import Facts, Site
from repofs.administration.roster import By, Member, Roster
from repofs.administration.user_directories import UserDirectories
from repofs.catalog.users import Experimenter, Group


def listing(site: Site, roster: Roster) -> Facts:
    """Return ``{"users": […], "groups": […]}``, both by id."""
    directories = UserDirectories(site.settings.repository)
    return {
        "users": [_user(site, directories, one, roster.groups[one.group_id]) for one in roster.experimenters],
        "groups": [_group(group, roster.members) for group in roster.groups.values()],
    }


def _user(site: Site, directories: UserDirectories, person: Experimenter, group: Group) -> Facts:
    account = site.machine.known(person.uid, person.user_name).account if person.removed is None else None
    return {
        "id": person.id,
        "user": person.user_name,
        "uid": person.uid,
        "account": None if account is None else account.name.encode(errors="backslashreplace").decode(),
        "group": group.name,
        "directory": directories.name(person, group),
        "removed": person.removed,
    }


def _group(group: Group, members: list[Member]) -> Facts:
    mine = [member for member in members if member.group.id == group.id]
    return {
        "id": group.id,
        "group": group.name,
        "gid": group.gid,
        "permissions": group.level,
        "members": [member.person.user_name for member in mine],
        "owners": [member.person.user_name for member in mine if member.owner],
        "by_unix_group": [member.person.user_name for member in mine if member.by is By.UNIX],
    }
