"""The lists that `repofs user list`, `repofs group list` and `repofs dropbox` show."""

from __future__ import annotations

import os

from repofs import config
from repofs.administration.changes import Facts, Site
from repofs.administration.roster import By, Member, Roster
from repofs.administration.user_directories import UserDirectories
from repofs.catalog import dropbox as files
from repofs.catalog.dropbox import File
from repofs.catalog.engine import Connection
from repofs.catalog.forms import shown
from repofs.catalog.users import Experimenter, Group
from repofs.people import Actor

MOST_FILES = 1000  # that are listed one by one


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


def dropbox(conn: Connection, settings: config.Settings, actor: Actor) -> Facts:
    """Return ``{"folders": […], "files": […]}``: how many files there are in which state, by folder and user, and of
    those with an error the MOST_FILES newest. An administrator sees everybody's, others their own."""
    user = None if actor.administrator else os.fsencode(actor.name or "")
    places = {one.name: os.fsencode(one.path) for one in settings.dropbox}
    return {
        "folders": [
            {"dropbox": name, "user": shown(whose), **{state: counts[state] for state in files.FileState}}
            for (name, whose), counts in sorted(files.counts(conn, user).items())
        ],
        "files": [_file(places, one) for one in files.troubled(conn, user, MOST_FILES)],
    }


def _file(places: dict[str, bytes], file: File) -> Facts:
    folder = places.get(file.place.dropbox, os.fsencode(file.place.dropbox))
    return {
        "path": shown(os.path.join(folder, file.place.path)),
        "state": file.state,
        "error": file.error,
        "fileset": file.fileset,
        "since": file.since,
    }
