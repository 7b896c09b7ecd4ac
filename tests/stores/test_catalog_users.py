"""Experimenters, groups and memberships."""

from __future__ import annotations

import pytest

from repofs.catalog import users
from repofs.catalog.engine import Connection
from repofs.errors import AlreadyExists, InvalidValue, NotFound
from repofs.model import ExperimenterId, GroupId, PermissionLevel
from tests.helpers.catalogue import lab


def test_an_experimenter_is_found_by_id_name_and_uid(conn: Connection) -> None:
    alice = lab(conn).alice
    assert (alice.id, alice.user_name, alice.uid, alice.removed) == (2, "alice", 5001, None)
    assert users.experimenter_by_id(conn, alice.id) == alice
    assert users.experimenter_by_name(conn, "alice") == alice


def test_who_is_not_there_is_not_found(conn: Connection) -> None:
    for missing in (
        lambda: users.experimenter_by_id(conn, ExperimenterId(9)),
        lambda: users.experimenter_by_name(conn, "eve"),
        lambda: users.group_by_id(conn, GroupId(9)),
        lambda: users.group_by_name(conn, "eve"),
        lambda: users.remove_experimenter(conn, ExperimenterId(9)),
        lambda: users.set_permissions(conn, GroupId(9), PermissionLevel.PRIVATE),
        lambda: users.add_experimenter(conn, "eve", 9, GroupId(9)),
    ):
        with pytest.raises(NotFound):
            missing()


@pytest.mark.parametrize(("name", "uid"), [("alice", 9), ("eve", 5001)])
def test_name_and_uid_are_taken_once(conn: Connection, name: str, uid: int) -> None:
    group = lab(conn).group
    with pytest.raises(AlreadyExists, match="alice with uid 5001"):
        users.add_experimenter(conn, name, uid, group.id)


def test_a_removed_experimenter_keeps_the_id_and_can_come_back(conn: Connection) -> None:
    alice = lab(conn).alice
    users.remove_experimenter(conn, alice.id)
    assert [one.user_name for one in users.experimenters(conn)] == ["bob"]
    assert users.experimenters(conn, removed=True)[0].removed is not None
    with pytest.raises(NotFound):
        users.experimenter_by_name(conn, "alice")
    with pytest.raises(NotFound):
        users.remove_experimenter(conn, alice.id)
    assert users.add_experimenter(conn, "alice", 5001, alice.group_id) == alice


def test_a_uid_given_out_again_is_another_person(conn: Connection) -> None:
    people = lab(conn)
    users.remove_experimenter(conn, people.alice.id)
    carol = users.add_experimenter(conn, "carol", 5001, people.group.id)
    assert carol.id != people.alice.id
    assert users.experimenter_by_name(conn, "carol") == carol


def test_groups(conn: Connection) -> None:
    group = users.add_group(conn, "lab", 5000, PermissionLevel.PRIVATE)
    assert users.groups(conn) == [group] == [users.group_by_name(conn, "lab")]
    assert users.set_permissions(conn, group.id, PermissionLevel.READ_WRITE).level is PermissionLevel.READ_WRITE
    for name, gid in (("lab", 9), ("other", 5000)):
        with pytest.raises(AlreadyExists, match="lab with gid 5000"):
            users.add_group(conn, name, gid, PermissionLevel.PRIVATE)


def test_members_and_owners(conn: Connection) -> None:
    people = lab(conn)
    other = users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)
    users.add_member(conn, people.alice.id, other.id)
    with pytest.raises(AlreadyExists, match="alice is already a member of other"):
        users.add_member(conn, people.alice.id, other.id)
    users.add_member(conn, people.alice.id, other.id, owner=True)
    assert users.memberships(conn) == [
        users.Membership(people.alice.id, people.group.id, False),
        users.Membership(people.bob.id, people.group.id, False),
        users.Membership(people.alice.id, other.id, True),
    ]
    users.remove_member(conn, people.alice.id, other.id)
    assert users.memberships(conn)[-1].removed is not None and not users.memberships(conn)[-1].owner
    with pytest.raises(NotFound, match="alice is no member of other"):
        users.remove_member(conn, people.alice.id, other.id)
    with pytest.raises(InvalidValue, match="alice's imports belong to lab"):
        users.remove_member(conn, people.alice.id, people.group.id)


def test_who_was_taken_out_can_come_back(conn: Connection) -> None:
    people = lab(conn)
    other = users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)
    users.remove_member(conn, people.alice.id, other.id)  # of whom nothing stood here: the Unix group had her
    assert users.add_member(conn, people.alice.id, other.id) == users.memberships(conn)[-1]
    users.remove_member(conn, people.alice.id, other.id)
    users.remove_experimenter(conn, people.alice.id)
    users.add_experimenter(conn, "alice", 5001, other.id)
    assert users.memberships(conn)[-1] == users.Membership(people.alice.id, other.id, False)


def test_who_owned_a_group_and_comes_back_owns_it_no_more(conn: Connection) -> None:
    people = lab(conn)
    users.add_member(conn, people.alice.id, people.group.id, owner=True)
    users.remove_experimenter(conn, people.alice.id)
    users.add_experimenter(conn, "alice", 5001, people.group.id)
    assert users.Membership(people.alice.id, people.group.id, False) in users.memberships(conn)
