"""OMERO's matrix: who may do what with whose data. The expected answers are OMERO's documented table, cell by cell."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs import access
from repofs.access import Act, Right, Whose
from repofs.errors import AccessDenied, NotPermitted
from repofs.model import PermissionLevel
from repofs.people import ROOT, Actor, Home, People, Privilege

LAB, ELSEWHERE = 5000, 5001
ALICE = Actor(1001, "alice", frozenset({LAB}))
MEMBER = Actor(1002, "bob", frozenset({LAB}))
GROUP_OWNER = Actor(1003, "pi", frozenset({LAB}), owner_of=frozenset({LAB}))
OUTSIDER = Actor(1004, "carol", frozenset({ELSEWHERE}), owner_of=frozenset({ELSEWHERE}))
ADMINISTRATOR = Actor(1005, "admin", administrator=True, privileges=frozenset(Privilege))
STRANGER = Actor(1006)

# "Group and user permissions" of OMERO's documentation: view, annotate, delete, edit of others' data.
MATRIX = {
    (PermissionLevel.PRIVATE, "bob"): "",
    (PermissionLevel.PRIVATE, "pi"): "V DE",
    (PermissionLevel.PRIVATE, "admin"): "V DE",
    (PermissionLevel.READ_ONLY, "bob"): "V",
    (PermissionLevel.READ_ONLY, "pi"): "VADE",
    (PermissionLevel.READ_ONLY, "admin"): "VADE",
    (PermissionLevel.READ_ANNOTATE, "bob"): "VA",
    (PermissionLevel.READ_ANNOTATE, "pi"): "VADE",
    (PermissionLevel.READ_ANNOTATE, "admin"): "VADE",
    (PermissionLevel.READ_WRITE, "bob"): "VADE",
    (PermissionLevel.READ_WRITE, "pi"): "VADE",
    (PermissionLevel.READ_WRITE, "admin"): "VADE",
}
LETTERS = {"V": Right.VIEW, "A": Right.ANNOTATE, "D": Right.DELETE, "E": Right.EDIT}
MATRIX_RIGHTS = Right.VIEW | Right.ANNOTATE | Right.DELETE | Right.EDIT


def of_alice(level: PermissionLevel) -> Whose:
    return Whose(ALICE.uid, LAB, level)


def letters(held: Right) -> str:
    return "".join(letter for letter, right in LETTERS.items() if right in held)


@pytest.mark.parametrize("actor", [MEMBER, GROUP_OWNER, ADMINISTRATOR], ids=lambda actor: actor.name)
@pytest.mark.parametrize("level", PermissionLevel)
def test_others_data(level: PermissionLevel, actor: Actor) -> None:
    assert actor.name is not None
    assert letters(access.rights(actor, of_alice(level))) == MATRIX[level, actor.name].replace(" ", "")


@pytest.mark.parametrize("level", PermissionLevel)
def test_ones_own_data_as_long_as_one_is_in_their_group(level: PermissionLevel) -> None:
    assert MATRIX_RIGHTS | Right.IMPORT | Right.CHGRP in access.rights(ALICE, of_alice(level))
    assert Right.CHOWN not in access.rights(ALICE, of_alice(level))
    left = Actor(ALICE.uid, "alice", frozenset({ELSEWHERE}))
    assert not access.rights(left, of_alice(level))


@pytest.mark.parametrize("level", PermissionLevel)
@pytest.mark.parametrize("actor", [OUTSIDER, STRANGER, Actor(ALICE.uid)], ids=["outsider", "stranger", "former owner"])
def test_who_is_not_in_the_group_has_nothing(actor: Actor, level: PermissionLevel) -> None:
    assert not access.rights(actor, of_alice(level))


@pytest.mark.parametrize(
    ("privilege", "allowed"),
    [
        (None, "V"),
        (Privilege.SUDO, "V"),
        (Privilege.WRITE_OWNED, "VAE"),
        (Privilege.DELETE_OWNED, "VD"),
        (Privilege.CHGRP, "V"),
        (Privilege.CHOWN, "V"),
        (Privilege.MODIFY_GROUP, "V"),
        (Privilege.MODIFY_USER, "V"),
    ],
)
def test_a_restricted_administrator_sees_all_and_may_what_her_privileges_say(
    privilege: Privilege | None, allowed: str
) -> None:
    restricted = Actor(1007, "light", administrator=True, privileges=frozenset({privilege} if privilege else ()))
    held = access.rights(restricted, of_alice(PermissionLevel.READ_ONLY))
    assert letters(held) == allowed
    assert (Right.IMPORT in held) == (privilege is Privilege.SUDO)
    assert (Right.CHGRP in held) == (privilege is Privilege.CHGRP)
    assert (Right.CHOWN in held) == (privilege is Privilege.CHOWN)


@pytest.mark.parametrize("level", PermissionLevel)
def test_import_as_is_for_owners_of_the_group_and_the_privilege_sudo(level: PermissionLevel) -> None:
    may = {actor.name for actor in (MEMBER, GROUP_OWNER, OUTSIDER, ADMINISTRATOR, ROOT, STRANGER)
           if access.may(Act.IMPORT, actor, of_alice(level))}  # fmt: skip
    assert may == {"pi", "admin", "root"}


@pytest.mark.parametrize("act", [Act.ANNOTATE, Act.REGISTER, Act.LINK])
def test_in_a_private_group_nobody_annotates_what_is_anothers(act: Act) -> None:
    for actor in (MEMBER, GROUP_OWNER, ADMINISTRATOR, ROOT):
        assert not access.may(act, actor, of_alice(PermissionLevel.PRIVATE))
    assert access.may(act, ALICE, of_alice(PermissionLevel.PRIVATE))


def test_linking_to_a_target_needs_more_than_annotating() -> None:
    may = {level for level in PermissionLevel if access.may(Act.LINK, MEMBER, of_alice(level))}
    assert may == {PermissionLevel.READ_WRITE}


@given(st.sampled_from([ALICE, MEMBER, GROUP_OWNER, ADMINISTRATOR, ROOT, STRANGER]), st.sampled_from(PermissionLevel))
def test_an_original_is_written_by_nobody(actor: Actor, level: PermissionLevel) -> None:
    with pytest.raises(NotPermitted, match="immutable"):
        access.require(Act.WRITE, actor, of_alice(level), original=True)


@pytest.mark.parametrize("act", Act)
def test_a_refusal_says_who_may_not_do_what_and_why(act: Act) -> None:
    with pytest.raises(AccessDenied, match=r"^bob may not .*"):
        access.require(act, MEMBER, of_alice(PermissionLevel.PRIVATE))
    with pytest.raises(AccessDenied, match=r"no experimenter: .*repofs user add"):
        access.require(act, STRANGER, of_alice(PermissionLevel.READ_WRITE))


def test_what_nobody_is_known_to_own_is_the_administrators() -> None:
    nobodys = Whose(None, None)
    assert [actor.name for actor in (ALICE, MEMBER, GROUP_OWNER, ADMINISTRATOR, ROOT, STRANGER)
            if access.may(Act.VIEW, actor, nobodys)] == ["admin", "root"]  # fmt: skip


def test_a_privilege_is_asked_of_administrators() -> None:
    access.require_privilege(Privilege.MODIFY_USER, ROOT)
    with pytest.raises(AccessDenied, match="privilege ModifyUser"):
        access.require_privilege(Privilege.MODIFY_USER, GROUP_OWNER)


def test_data_move_only_to_a_group_that_their_user_is_in() -> None:
    access.require_member(Home(ALICE.uid, LAB, frozenset({LAB})), LAB)
    for home in (Home(ALICE.uid, LAB, frozenset({LAB})), None):
        with pytest.raises(NotPermitted, match="add-member"):
            access.require_member(home, ELSEWHERE)


def test_a_user_directory_may_be_entered_for_the_sake_of_any_of_its_users_groups() -> None:
    levels = {LAB: PermissionLevel.PRIVATE, ELSEWHERE: PermissionLevel.READ_ONLY}
    people = People({}, levels)
    home = Home(ALICE.uid, LAB, frozenset({LAB, ELSEWHERE}))
    member = Actor(1008, "dave", frozenset({ELSEWHERE}))
    assert access.rights_in_home(people, member, home) == Right.VIEW
    assert not access.rights_in_home(people, MEMBER, home)
    assert not access.rights_in_home(people, STRANGER, home)
