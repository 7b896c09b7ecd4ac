"""Who there is: the catalogue together with the machine, in all the ways in which they may differ."""

from __future__ import annotations

import pytest

from repofs import config
from repofs.acl import MOST_NAMED
from repofs.administration import roster
from repofs.administration.machine import Machine
from repofs.administration.roster import By, Roster
from repofs.catalog import users
from repofs.catalog.engine import Connection
from repofs.catalog.users import Experimenter, Group
from repofs.config import Administrators, Settings
from repofs.model import PermissionLevel
from repofs.people import ROOT, Home, Privilege
from tests.helpers.nss import Nss

ADMINS = Settings(administrators=(Administrators(group="omero-admins"),))


@pytest.fixture
def nss(monkeypatch: pytest.MonkeyPatch) -> Nss:
    return Nss.instead(monkeypatch)


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def lab(conn: Connection) -> Group:
    return users.add_group(conn, "lab", 5000, PermissionLevel.READ_ONLY)


@pytest.fixture
def other(conn: Connection) -> Group:
    return users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)


@pytest.fixture
def alice(conn: Connection, lab: Group) -> Experimenter:
    return users.add_experimenter(conn, "alice", 5001, lab.id)


def read(conn: Connection, machine: Machine, settings: Settings | None = None) -> Roster:
    """Ask the machine for all, as the office does, and read."""
    settings = settings or Settings()
    people = [(one.uid, one.user_name) for one in users.experimenters(conn)]
    machine.ask(people, [group.gid for group in users.groups(conn)], [table.group for table in settings.administrators])
    return roster.read(conn, settings, machine)


def ways(found: Roster) -> dict[tuple[str, str], By]:
    return {(one.person.user_name, one.group.name): one.by for one in found.members}


# --- members -------------------------------------------------------------------------------------


def test_who_is_a_member_by_what(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001)
    nss.group("anything", 6000, ["alice", "eve"])
    nss.account("eve", 5009)  # in the Unix group, and no experimenter
    found = read(conn, machine)
    assert ways(found) == {("alice", "lab"): By.REPOFS, ("alice", "other"): By.UNIX}
    assert found.people.actors[5001].groups == {5000, 6000} and 5009 not in found.people.actors
    assert found.people.levels == {5000: PermissionLevel.READ_ONLY, 6000: PermissionLevel.PRIVATE}
    assert found.people.homes == {b"alice_2": Home(5001, 5000, frozenset({5000, 6000}))}
    assert roster.people(conn, Settings(), machine) == found.people


def test_a_primary_group_counts_too(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001, gid=6000)
    assert ways(read(conn, machine))["alice", "other"] is By.UNIX


def test_who_was_taken_out_is_no_member_whatever_unix_says(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001, gid=6000)
    users.remove_member(conn, alice.id, other.id)
    assert ("alice", "other") not in ways(read(conn, machine))
    users.add_member(conn, alice.id, other.id, owner=True)
    found = read(conn, machine)
    assert ways(found)["alice", "other"] is By.REPOFS
    assert found.people.actors[5001].owner_of == {6000}


def test_without_an_account_the_catalogue_alone_counts(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001, gid=6000)
    assert read(conn, machine).people.actors[5001].groups == {5000, 6000}
    del nss.accounts["alice"]
    found = read(conn, machine)
    assert (found.people.actors[5001].name, found.people.actors[5001].groups) == ("alice", {5000})
    assert found.doubts == ()


# --- accounts that change ------------------------------------------------------------------------


def test_a_uid_given_out_again_is_not_the_experimenter(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter
) -> None:
    nss.account("zoe", 5001, gid=5000)
    found = read(conn, machine)
    assert found.people.actor(5001).name is None
    assert found.members == [] and found.strangers == {5001}
    assert found.people.homes == {b"alice_2": Home(None, 5000, frozenset({5000}))}
    assert found.doubts == (
        "uid 5001 was alice and is now the account zoe: Experimenter:2 is shut out until repofs user remove and"
        " repofs user add",
    )


def test_a_second_name_of_one_uid_is_no_other_person(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter
) -> None:
    nss.account("alice-admin", 5001)
    nss.account("alice", 5001)
    assert read(conn, machine).people.actors[5001].name == "alice"


def test_her_successor_has_no_right_in_the_directory_of_a_former_experimenter(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, lab: Group
) -> None:
    nss.account("zoe", 5001)
    users.remove_experimenter(conn, alice.id)
    users.add_experimenter(conn, "zoe", 5001, lab.id)
    homes = read(conn, machine).people.homes
    assert homes == {
        b"alice_2": Home(None, 5000, frozenset({5000})),
        b"zoe_3": Home(5001, 5000, frozenset({5000})),
    }


def test_an_active_experimenter_has_the_directory_of_a_name_that_two_have(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, lab: Group
) -> None:
    users.remove_experimenter(conn, alice.id)
    users.add_experimenter(conn, "alice", 5007, lab.id)
    settings = Settings(repository=config.Repository(template="%user%//%time%"))
    assert read(conn, machine, settings).people.homes == {b"alice": Home(5007, 5000, frozenset({5000}))}


# --- a service that is away ----------------------------------------------------------------------


def test_the_last_answer_counts_while_a_service_is_away(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001)
    nss.account("ada", 5003)
    nss.group("other", 6000, ["alice"])
    nss.group("omero-admins", 7000, ["ada"])
    before = read(conn, machine, ADMINS)
    assert before.people.actors[5003].administrator and before.people.actors[5001].groups == {5000, 6000}
    nss.away = True
    during = read(conn, machine, ADMINS)
    assert during.people == before.people
    assert len(during.doubts) == 1 and "their last answer counts" in during.doubts[0]
    nss.away = False
    nss.group("other", 6000)
    after = read(conn, machine, ADMINS)
    assert after.people.actors[5001].groups == {5000} and after.doubts == ()


def test_groups_of_a_service_that_is_away_are_not_taken_for_none(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account is in /etc/passwd, its group in LDAP: getgrouplist(3) does not say that it could not ask."""
    nss.account("alice", 5001)
    nss.group("other", 6000, ["alice"])
    before = read(conn, machine)
    nss.away = True
    monkeypatch.setattr("repofs.administration.unix.account_by_uid", lambda uid: nss.accounts["alice"])
    assert read(conn, machine).people == before.people


def test_at_a_start_without_the_service_the_catalogue_alone_counts(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter, other: Group
) -> None:
    nss.account("alice", 5001, gid=6000)
    nss.account("eve", 5009, gid=6000)
    nss.away = True
    found = read(conn, machine, ADMINS)
    assert list(found.people.actors) == [5001]
    assert found.people.actors[5001].groups == {5000}


# --- administrators ------------------------------------------------------------------------------


def test_administrators_need_not_be_experimenters(
    conn: Connection, nss: Nss, machine: Machine, alice: Experimenter
) -> None:
    nss.account("ada", 5003)
    nss.account("alice", 5001, gid=7000)
    nss.group("omero-admins", 7000, ["root", "ada", "gone"])
    actors = read(conn, machine, ADMINS).people.actors
    assert set(actors) == {5001, 5003}
    assert (actors[5003].name, actors[5003].groups) == ("ada", frozenset())
    assert actors[5001].groups == {5000}
    assert all(one.administrator and one.privileges == frozenset(Privilege) for one in actors.values())


def test_privileges_of_several_groups_add_up(conn: Connection, nss: Nss, machine: Machine) -> None:
    tables = (
        Administrators(group="importers", privileges=(Privilege.SUDO,)),
        Administrators(group="curators", privileges=(Privilege.CHGRP, Privilege.CHOWN)),
        Administrators(group="onlookers", privileges=()),
    )
    nss.account("ada", 5003)
    nss.account("ben", 5004)
    nss.group("importers", 7000, ["ada"])
    nss.group("curators", 7001, ["ada"])
    nss.group("onlookers", 7002, ["ben"])
    actors = read(conn, machine, Settings(administrators=tables)).people.actors
    assert actors[5003].privileges == {Privilege.SUDO, Privilege.CHGRP, Privilege.CHOWN}
    assert actors[5004].administrator and not actors[5004].privileges


def test_a_group_of_administrators_that_is_none(conn: Connection, nss: Nss, machine: Machine) -> None:
    found = read(conn, machine, ADMINS)
    assert found.people.actors == {} and found.people.actor(0) is ROOT
    assert found.doubts == ("administrators: omero-admins is no Unix group of this machine, so nobody is one by it",)


def test_names_that_are_not_utf_8_can_be_told(conn: Connection, nss: Nss, machine: Machine) -> None:
    nss.account("caf\udce9", 5003)
    nss.group("omero-admins", 7000, ["caf\udce9"])
    assert read(conn, machine, ADMINS).people.actors[5003].name == r"caf\xe9"


# --- very many -----------------------------------------------------------------------------------


def test_a_group_of_six_hundred_is_warned_of(conn: Connection, nss: Nss, machine: Machine, lab: Group) -> None:
    for number in range(600):
        users.add_experimenter(conn, f"user{number}", 10_000 + number, lab.id)
    found = read(conn, machine)
    assert set(roster.crowds(found.people).values()) == {599}
    assert len(found.doubts) == 1 and f"above {MOST_NAMED} some of them are shut out" in found.doubts[0]
    users.set_permissions(conn, lab.id, PermissionLevel.PRIVATE)
    assert read(conn, machine).doubts == ()


def test_owners_and_administrators_see_into_private_directories(
    conn: Connection, nss: Nss, machine: Machine, other: Group
) -> None:
    nss.account("ada", 5003)
    nss.group("omero-admins", 7000, ["ada"])
    for number, name in enumerate(("bob", "carol", "dora")):
        person = users.add_experimenter(conn, name, 5010 + number, other.id)
    users.add_member(conn, person.id, other.id, owner=True)
    assert sorted(roster.crowds(read(conn, machine, ADMINS).people).values()) == [1, 2, 2]
