"""Who there is: what the catalogue says of people and groups together with what the machine said last.

A member of a group is an active experimenter whom repofs has put into it, or of whom repofs says nothing and who is in
the Unix group. Whom repofs has taken out is none, whatever the Unix group says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from repofs import config
from repofs.access import Right, Whose, rights
from repofs.acl import MOST_NAMED
from repofs.administration.machine import Machine
from repofs.administration.user_directories import UserDirectories
from repofs.catalog import holdings, users
from repofs.catalog.engine import Connection
from repofs.catalog.users import Experimenter, Group, Membership
from repofs.model import GroupId, PermissionLevel
from repofs.people import Actor, Home, People, Privilege

CROWDED = MOST_NAMED * 4 // 5  # people who see into one user directory: from here on the log warns


class By(StrEnum):
    """What makes a member one."""

    REPOFS = "repofs"
    UNIX = "Unix"


@dataclass(frozen=True, slots=True)
class Member:
    person: Experimenter
    group: Group
    owner: bool
    by: By


@dataclass(frozen=True, slots=True)
class Roster:
    """What was read at one moment."""

    experimenters: list[Experimenter]  # the former ones too
    groups: dict[GroupId, Group]
    members: list[Member]  # by group and experimenter; those only who count
    strangers: frozenset[int]  # uids of active experimenters that Unix has given to somebody else
    people: People
    doubts: tuple[str, ...]  # a sentence for each thing that an administrator should look at


def people(conn: Connection, settings: config.Settings, machine: Machine) -> People:
    """Return who there is, by the catalogue and by what *machine* knows."""
    return read(conn, settings, machine).people


def read(conn: Connection, settings: config.Settings, machine: Machine) -> Roster:
    """Return all that is known of people and groups. Raises SettingsError when the template makes no directories."""
    experimenters = users.experimenters(conn, removed=True)
    groups = {group.id: group for group in users.groups(conn)}
    rows = users.memberships(conn)
    strangers = [one for one in experimenters if one.removed is None and not machine.known(one.uid, one.user_name).hers]
    active = [one for one in experimenters if one.removed is None and one not in strangers]
    members = list(_members(active, groups, rows, machine))
    known = People(
        _actors(active, members, _administrators(settings, active, machine)),
        {group.gid: group.level for group in groups.values()},
        _homes(UserDirectories(settings.repository), experimenters, active, groups, members, rows),
        {group.name: group.gid for group in groups.values()},
        *_quotas(conn, settings, experimenters, groups),
    )
    doubts = [machine.trouble] if machine.trouble else []
    doubts += [_stranger(one, machine) for one in strangers]
    doubts += _doubts(settings, machine, known)
    return Roster(experimenters, groups, members, frozenset(one.uid for one in strangers), known, tuple(doubts))


# --- members -------------------------------------------------------------------------------------


def _members(
    active: list[Experimenter], groups: dict[GroupId, Group], rows: list[Membership], machine: Machine
) -> Iterator[Member]:
    said = {(row.group_id, row.experimenter_id): row for row in rows}
    for group in groups.values():
        for person in active:
            row = said.get((group.id, person.id))
            if row is None and group.gid in machine.known(person.uid, person.user_name).gids:
                yield Member(person, group, False, By.UNIX)
            elif row is not None and row.removed is None:
                yield Member(person, group, row.owner, By.REPOFS)


# --- actors --------------------------------------------------------------------------------------


def _administrators(
    settings: config.Settings, active: list[Experimenter], machine: Machine
) -> dict[int, tuple[str, frozenset[Privilege]]]:
    """Return name and privileges of all administrators but root, by uid."""
    found: dict[int, tuple[str, frozenset[Privilege]]] = {}
    for table in settings.administrators:
        group = machine.administrators(table.group)
        if group is None:
            continue
        named = {account.uid: account.name for account in group.accounts}
        named |= {one.uid: one.user_name for one in active if group.gid in machine.known(one.uid, one.user_name).gids}
        for uid, name in named.items():
            _, before = found.get(uid, (name, frozenset[Privilege]()))
            found[uid] = (_text(name), before | frozenset(table.privileges))
    return found


def _text(name: str) -> str:
    """Accounts may have names that are not UTF-8, which no message takes."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _actors(
    active: list[Experimenter], members: list[Member], administrators: dict[int, tuple[str, frozenset[Privilege]]]
) -> dict[int, Actor]:
    gids: dict[int, set[int]] = {one.uid: set() for one in active}
    owned: dict[int, set[int]] = {one.uid: set() for one in active}
    for member in members:
        gids[member.person.uid].add(member.group.gid)
        if member.owner:
            owned[member.person.uid].add(member.group.gid)
    names = {uid: name for uid, (name, _) in administrators.items()} | {one.uid: one.user_name for one in active}
    return {
        uid: Actor(
            uid,
            name,
            frozenset(gids.get(uid, ())),
            frozenset(owned.get(uid, ())),
            uid in administrators,
            administrators[uid][1] if uid in administrators else frozenset(),
        )
        for uid, name in names.items()
        if uid != 0  # root is built in
    }


# --- homes ---------------------------------------------------------------------------------------


def _homes(
    directories: UserDirectories,
    experimenters: list[Experimenter],
    active: list[Experimenter],
    groups: dict[GroupId, Group],
    members: list[Member],
    rows: list[Membership],
) -> dict[bytes, Home]:
    """Return all user directories; where the template gives two people the same name, it is the active one's."""
    gids: dict[int, set[int]] = {one.id: {groups[one.group_id].gid} for one in experimenters}
    for member in members:
        gids[member.person.id].add(member.group.gid)
    for row in rows:  # of former experimenters nothing else tells
        if row.removed is None:
            gids[row.experimenter_id].add(groups[row.group_id].gid)
    homes = {}
    present = {one.id for one in active}
    for one in sorted(experimenters, key=lambda one: (one.id in present, one.removed is None)):
        group = groups[one.group_id]
        uid = one.uid if one.id in present else None
        homes[os.fsencode(directories.name(one, group))] = Home(uid, group.gid, frozenset(gids[one.id]))
    return homes


# --- quotas --------------------------------------------------------------------------------------


def _quotas(
    conn: Connection, settings: config.Settings, experimenters: list[Experimenter], groups: dict[GroupId, Group]
) -> tuple[dict[bytes, int], dict[int, int]]:
    """Return what may be held, by user directory and by gid."""
    directories = UserDirectories(settings.repository)
    users, of_groups = (holdings.quotas_of(conn, kind) for kind in (holdings.USER, holdings.GROUP))
    limits = {
        os.fsencode(directories.name(one, groups[one.group_id])): users.get(one.id, settings.quota.user)
        for one in experimenters
    }
    group_limits = {group.gid: of_groups.get(group.id, settings.quota.group) for group in groups.values()}
    return (
        {directory: limit for directory, limit in limits.items() if limit is not None},
        {gid: limit for gid, limit in group_limits.items() if limit is not None},
    )


# --- doubts --------------------------------------------------------------------------------------


def crowds(people: People) -> dict[bytes, int]:
    """Return how many people besides its owner see into each user directory: entries of its ACL."""
    seeing: dict[int, set[int]] = {}
    for gid, level in people.levels.items():
        seeing[gid] = {uid for uid, actor in people.actors.items() if _sees(actor, gid, level)}
    return {
        name: len(set[int]().union(*(seeing[gid] for gid in home.gids)) - {home.uid})
        for name, home in people.homes.items()
    }


def _sees(actor: Actor, gid: int, level: PermissionLevel) -> bool:
    return (gid in actor.groups or actor.administrator) and Right.VIEW in rights(actor, Whose(None, gid, level))


def _stranger(person: Experimenter, machine: Machine) -> str:
    account = machine.known(person.uid, person.user_name).account
    return (
        f"uid {person.uid} was {person.user_name} and is now the account {_text(account.name) if account else '?'}:"
        f" Experimenter:{person.id} is shut out until repofs user remove and repofs user add"
    )


def _doubts(settings: config.Settings, machine: Machine, people: People) -> Iterator[str]:
    for table in settings.administrators:
        if machine.administrators(table.group) is None:
            yield f"administrators: {table.group} is no Unix group of this machine, so nobody is one by it"
    crowded = {name: count for name, count in crowds(people).items() if count > CROWDED}
    if crowded:
        name, most = max(crowded.items(), key=lambda item: item[1])
        yield (
            f"{most} people may see into {name.decode(errors='backslashreplace')}, and so many or fewer into"
            f" {len(crowded) - 1} other user directories: above {MOST_NAMED} some of them are shut out;"
            " take members out, or make the group private"
        )
