"""Changes of people and groups: who may make them, what each does, what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from repofs.acl import MOST_NAMED
from repofs.administration.office import Office
from repofs.administration.requests import (
    AddGroup,
    AddMember,
    AddUser,
    Change,
    ListPeople,
    RemoveMember,
    RemoveUser,
    Request,
    SetPermissions,
    SetQuota,
)
from repofs.administration.unix import Unreachable
from repofs.catalog import audit, users
from repofs.catalog.engine import Engine
from repofs.config import Administrators, Quota, Settings
from repofs.errors import AccessDenied, AlreadyExists, InvalidValue, NotFound, RepofsError
from repofs.model import PermissionLevel
from repofs.people import Privilege
from repofs.repository.layout import Layout
from tests.helpers.nss import Nss

root_only = pytest.mark.skipif(os.getuid() != 0, reason="gives directories to other users, which only root can")

ALICE, BOB, CAROL, ADA, GRACE, EVE = 5001, 5002, 5003, 5011, 5012, 5099
ADMINISTRATORS = (
    Administrators(group="user-admins", privileges=(Privilege.MODIFY_USER,)),  # ada
    Administrators(group="group-admins", privileges=(Privilege.MODIFY_GROUP,)),  # grace
)


@dataclass
class Admin:
    """A repository: lab has the owner alice and bob, other has carol; ada may change users, grace groups."""

    layout: Layout
    nss: Nss
    engine: Engine
    office: Office

    def do(self, request: Request, uid: int = 0) -> dict[str, Any]:
        return self.office.see_to(request, uid, uid)

    def trail(self) -> list[tuple[int, str, str | None, dict[str, object]]]:
        with self.engine.begin() as conn:
            return [(one.actor_uid, one.act, one.target, one.detail) for one in audit.entries(conn)]

    def group(self, name: str) -> dict[str, Any]:
        [found] = [group for group in self.do(ListPeople())["groups"] if group["group"] == name]
        return found  # type: ignore[no-any-return]


@pytest.fixture
def admin(tmp_path: Path, catalogue: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    nss = Nss.instead(monkeypatch)
    for name, uid in (("alice", ALICE), ("bob", BOB), ("carol", CAROL), ("ada", ADA), ("grace", GRACE)):
        nss.account(name, uid)
    nss.group("user-admins", 7001, ["ada"])
    nss.group("group-admins", 7002, ["grace"])
    layout = Layout.create(tmp_path / "repository", "")
    with catalogue.begin() as conn:
        lab = users.add_group(conn, "lab", 5000, PermissionLevel.READ_ONLY)
        other = users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)
        alice = users.add_experimenter(conn, "alice", ALICE, lab.id)
        users.add_member(conn, alice.id, lab.id, owner=True)
        users.add_experimenter(conn, "bob", BOB, lab.id)
        users.add_experimenter(conn, "carol", CAROL, other.id)
    settings = Settings(administrators=ADMINISTRATORS)
    return Admin(layout, nss, catalogue, Office(layout, settings, writing=catalogue, reading=catalogue))


# --- who may -------------------------------------------------------------------------------------

OF_USERS: list[Change] = [AddUser("dora", 5004, "lab"), RemoveUser("bob")]
OF_GROUPS: list[Change] = [AddGroup("new", 6100), SetPermissions("lab", PermissionLevel.PRIVATE)]
OF_MEMBERS: list[Change] = [
    AddMember("lab", "carol"),
    AddMember("lab", "carol", owner=True),
    RemoveMember("other", "x"),
]


@pytest.mark.parametrize("uid", [BOB, CAROL, EVE, GRACE], ids=["member", "other", "stranger", "group-admin"])
@pytest.mark.parametrize("change", OF_USERS, ids=repr)
def test_users_are_changed_by_who_may(admin: Admin, uid: int, change: Change) -> None:
    with pytest.raises(AccessDenied):
        admin.do(change, uid)
    assert admin.trail() == []


@pytest.mark.parametrize(
    "uid", [ALICE, BOB, CAROL, EVE, ADA], ids=["owner", "member", "other", "stranger", "user-admin"]
)
@pytest.mark.parametrize("change", OF_GROUPS, ids=repr)
def test_groups_are_changed_by_who_may(admin: Admin, uid: int, change: Change) -> None:
    with pytest.raises(AccessDenied):
        admin.do(change, uid)
    assert admin.trail() == []


@pytest.mark.parametrize("uid", [BOB, CAROL, EVE, ADA], ids=["member", "other", "stranger", "user-admin"])
@pytest.mark.parametrize("change", OF_MEMBERS, ids=repr)
def test_members_are_changed_by_who_may(admin: Admin, uid: int, change: Change) -> None:
    with pytest.raises(AccessDenied):
        admin.do(change, uid)
    assert admin.trail() == []


@root_only
def test_an_administrator_of_users(admin: Admin) -> None:
    done = admin.do(AddUser("dora", 5004, "lab"), ADA)
    assert done == {
        "user": "dora", "uid": 5004, "object": "Experimenter:5", "group": "lab", "directory": "dora_5",
    }  # fmt: skip
    status = (admin.layout.managed / "dora_5").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (5004, 5000, 0o700)
    admin.do(RemoveUser("dora"), ADA)
    assert admin.trail() == [
        (ADA, "user.add", "Experimenter:5", {"uid": 5004, "group": "lab"}),
        (ADA, "user.remove", "Experimenter:5", {}),
    ]


@root_only
def test_an_administrator_of_users_does_not_choose_her_own_groups(admin: Admin) -> None:
    with pytest.raises(AccessDenied):
        admin.do(AddUser("ada", ADA, "lab"), ADA)
    admin.do(AddUser("ada", ADA, "lab"))
    with pytest.raises(AccessDenied):
        admin.do(RemoveUser("ada"), ADA)
    assert [actor for actor, *_ in admin.trail()] == [0]


def test_an_administrator_of_groups(admin: Admin) -> None:
    admin.nss.group("imaging", 6100, ["bob"])
    done = admin.do(AddGroup("imaging", None, PermissionLevel.READ_WRITE), GRACE)
    assert done == {"group": "imaging", "gid": 6100, "object": "ExperimenterGroup:5", "level": "read-write"}
    assert admin.do(SetPermissions("imaging", PermissionLevel.PRIVATE), GRACE)["level"] == "private"
    assert admin.office.roster.people.levels[6100] is PermissionLevel.PRIVATE
    admin.do(AddMember("imaging", "carol"), GRACE)
    assert [act for _, act, _, _ in admin.trail()] == ["group.add", "group.set-permissions", "group.add-member"]


def test_an_owner_of_a_group_changes_its_members_and_owners_and_no_others(admin: Admin) -> None:
    admin.do(AddMember("lab", "carol"), ALICE)
    admin.do(AddMember("lab", "bob", owner=True), ALICE)
    assert admin.group("lab")["owners"] == ["alice", "bob"]
    admin.do(AddMember("lab", "bob"), ALICE)
    admin.do(RemoveMember("lab", "carol"), ALICE)
    assert (admin.group("lab")["members"], admin.group("lab")["owners"]) == (["alice", "bob"], ["alice"])
    for change in (AddMember("other", "alice"), RemoveMember("other", "carol"), AddMember("no-group", "bob")):
        with pytest.raises(AccessDenied):
            admin.do(change, ALICE)


def test_whose_the_repository_is_may_all(admin: Admin) -> None:
    os.chown(admin.layout.root, os.getuid() or 5500, -1)
    owner = admin.layout.root.stat().st_uid
    admin.do(SetPermissions("lab", PermissionLevel.PRIVATE), owner)
    assert [actor for actor, *_ in admin.trail()] == [owner]


def test_who_was_an_administrator_is_none_from_the_next_look_on(admin: Admin) -> None:
    admin.nss.group("group-admins", 7002)
    admin.office.refreshed()
    with pytest.raises(AccessDenied, match="uid 5012 is no experimenter"):
        admin.do(SetPermissions("lab", PermissionLevel.PRIVATE), GRACE)


def test_the_audit_trail_names_whom_root_acts_for(admin: Admin) -> None:
    admin.office.see_to(AddMember("lab", "carol"), 0, ALICE)
    assert admin.trail() == [(ALICE, "group.add-member", "ExperimenterGroup:3", {"user": "carol", "owner": False})]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        (AddUser("nobody-here"), NotFound, "no account of this machine"),
        (AddUser("eve", ADA, "lab"), InvalidValue, "uid 5011 is the account ada, not eve"),
        (AddUser("alice", 5010, "lab"), AlreadyExists, "already Experimenter:2"),
        (AddUser("dora", 5004), InvalidValue, "--group lab or other"),
        (AddUser("dora", 5004, "nowhere"), NotFound, "nowhere is no group"),
        (AddUser("dora", 2**32 - 1, "lab"), InvalidValue, "4294967294"),
        (AddUser("dora", -1, "lab"), InvalidValue, ">= 0"),
        (AddUser("do\nra", 5004, "lab"), InvalidValue, "name of no account"),
        (AddUser("../dora", 5004, "lab"), InvalidValue, "name of no account"),
        (AddUser("do\0ra", 5004, "lab"), InvalidValue, "name of no account"),
        (AddUser("\udce9", 5004, "lab"), InvalidValue, "name of no account"),
        (AddUser("", 5004, "lab"), InvalidValue, "length"),
        (AddUser("x" * 300, 5004, "lab"), InvalidValue, "length"),
        (RemoveUser("eve"), NotFound, "no experimenter"),
        (AddGroup("wheel", 0), InvalidValue, "gid 0 is root's"),
        (AddGroup("nowhere"), NotFound, "no Unix group of this machine"),
        (AddGroup("lab", 5009), AlreadyExists, "lab with gid 5000"),
        (SetPermissions("nowhere", PermissionLevel.PRIVATE), NotFound, "nowhere is no group"),
        (AddMember("lab", "bob"), AlreadyExists, "already a member"),
        (AddMember("lab", "eve"), NotFound, "no experimenter"),
        (RemoveMember("lab", "bob"), InvalidValue, "can only leave other groups"),
        (RemoveMember("lab", "carol"), NotFound, "carol is no member of lab"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_said_and_nothing_done(
    admin: Admin, change: Change, kind: type[RepofsError], sentence: str
) -> None:
    before = admin.office.roster
    with pytest.raises(kind, match=sentence):
        admin.do(change)
    assert admin.trail() == []
    assert admin.do(ListPeople()) and admin.office.roster.people == before.people
    assert os.listdir(admin.layout.managed).count("dora_5") == 0


def test_nobody_is_added_while_the_machine_cannot_be_asked(admin: Admin) -> None:
    admin.nss.away = True
    for change in (AddUser("dora"), AddUser("dora", 5004, "lab"), AddGroup("imaging")):
        with pytest.raises(Unreachable, match="try again later"):
            admin.do(change)
    admin.do(SetPermissions("lab", PermissionLevel.PRIVATE))  # which needs no account


def test_a_list_is_for_people(admin: Admin) -> None:
    assert admin.do(ListPeople(), BOB) == admin.do(ListPeople(), ADA)
    with pytest.raises(AccessDenied, match="uid 5099 is no experimenter"):
        admin.do(ListPeople(), EVE)


# --- members by Unix group -----------------------------------------------------------------------


def test_who_is_in_the_unix_group_only_can_be_taken_out_and_put_back(admin: Admin) -> None:
    admin.nss.group("other", 6000, ["bob"])
    admin.office.refreshed()
    assert (admin.group("other")["members"], admin.group("other")["by_unix_group"]) == (["bob", "carol"], ["bob"])
    admin.do(RemoveMember("other", "bob"))
    assert admin.group("other")["members"] == ["carol"]
    assert 6000 not in admin.office.roster.people.actors[BOB].groups
    with pytest.raises(NotFound, match="bob is no member of other"):
        admin.do(RemoveMember("other", "bob"))
    admin.do(AddMember("other", "bob"))
    assert (admin.group("other")["members"], admin.group("other")["by_unix_group"]) == (["bob", "carol"], [])


def test_the_list_shows_which_account_a_uid_has_now(admin: Admin) -> None:
    del admin.nss.accounts["carol"]
    del admin.nss.accounts["bob"]
    admin.nss.account("zoe", BOB)
    admin.office.refreshed()
    told = {one["user"]: one["account"] for one in admin.do(ListPeople())["users"]}
    assert told == {"alice": "alice", "bob": "zoe", "carol": None}
    assert admin.group("lab")["members"] == ["alice"]
    with pytest.raises(AccessDenied):
        admin.do(ListPeople(), BOB)


@root_only
def test_a_uid_given_out_again_can_be_an_experimenter_of_its_own(admin: Admin) -> None:
    del admin.nss.accounts["bob"]
    admin.nss.account("zoe", BOB)
    admin.office.refreshed()
    with pytest.raises(AlreadyExists, match="bob with uid 5002"):
        admin.do(AddUser("zoe", None, "lab"))
    admin.do(RemoveUser("bob"))
    assert admin.do(AddUser("zoe", None, "lab"))["directory"] == "zoe_5"
    people = admin.office.roster.people
    assert (people.actors[BOB].name, people.homes[b"bob_3"].uid, people.homes[b"zoe_5"].uid) == ("zoe", None, BOB)


# --- very many -----------------------------------------------------------------------------------


@pytest.fixture
def crowd(admin: Admin) -> Admin:
    """As many in other, which is private, as there is room for: each would be seen by the others, ada and grace."""
    with admin.engine.begin() as conn:
        other = users.group_by_name(conn, "other")
        for number in range(MOST_NAMED - 2):
            users.add_experimenter(conn, f"user{number}", 10_000 + number, other.id)
    admin.office.refreshed()
    return admin


def test_a_group_with_too_many_members_stays_private(crowd: Admin) -> None:
    crowd.do(SetPermissions("other", PermissionLevel.READ_ONLY))
    crowd.do(SetPermissions("other", PermissionLevel.PRIVATE))
    crowd.do(AddMember("other", "bob"))
    with pytest.raises(InvalidValue, match="people would see into"):
        crowd.do(SetPermissions("other", PermissionLevel.READ_ONLY))
    assert crowd.group("other")["permissions"] == "private"


def test_a_group_that_is_full_takes_no_member(crowd: Admin) -> None:
    crowd.do(SetPermissions("other", PermissionLevel.READ_ONLY))
    with pytest.raises(InvalidValue, match="people would see into"):
        crowd.do(AddMember("other", "bob"))
    crowd.do(AddMember("lab", "bob", owner=True))  # where there is room


def test_what_unix_has_made_too_many_hinders_no_other_change(crowd: Admin) -> None:
    crowd.do(SetPermissions("other", PermissionLevel.READ_ONLY))
    crowd.nss.group("other", 6000, ["alice", "bob"])
    crowd.office.refreshed()
    assert any("shut out" in doubt for doubt in crowd.office.roster.doubts)
    crowd.do(AddGroup("new", 6100))
    crowd.do(RemoveMember("other", "alice"))
    with pytest.raises(InvalidValue, match="people would see into"):
        crowd.do(AddMember("other", "alice"))


# --- quotas ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uid", "of_group", "allowed"), [(ADA, False, True), (ADA, True, False), (GRACE, True, True), (ALICE, False, False)]
)
def test_quotas_are_set_by_who_may(admin: Admin, uid: int, *, of_group: bool, allowed: bool) -> None:
    request = SetQuota("lab" if of_group else "alice", of_group, 1000)
    if not allowed:
        with pytest.raises(AccessDenied, match="no administrator"):
            admin.do(request, uid)
        return
    assert admin.do(request, uid)["quota"] == 1000
    people = admin.office.roster.people
    assert (list(people.group_quotas.values()), list(people.user_quotas.values())).count([1000]) == 1
    kind = "ExperimenterGroup" if of_group else "Experimenter"
    actor, act, target, detail = admin.trail()[-1]
    assert (actor, act, detail) == (uid, "quota.set", {"quota": 1000, "default": False})
    assert str(target).startswith(f"{kind}:")


def test_a_quota_is_the_settings_until_another_is_set_and_when_it_is_taken_back(admin: Admin) -> None:
    admin.office._site = replace(admin.office._site, settings=Settings(quota=Quota(user="1 kB", group="1KiB")))
    admin.office.refreshed()
    assert set(admin.office.roster.people.user_quotas.values()) == {1000}
    assert set(admin.office.roster.people.group_quotas.values()) == {1024}
    admin.do(SetQuota("alice"))  # none
    assert len(admin.office.roster.people.user_quotas) == 2
    assert admin.do(SetQuota("alice", default=True))["quota"] == 1000
    assert len(admin.office.roster.people.user_quotas) == 3
    with pytest.raises(NotFound):
        admin.do(SetQuota("nobody", size=1))
    with pytest.raises(InvalidValue):
        admin.do(SetQuota("alice", size=-1))
