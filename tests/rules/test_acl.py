"""Rights as mode bits and POSIX ACLs."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs import acl
from repofs.access import Whose
from repofs.acl import Kind, Stored
from repofs.model import PermissionLevel
from repofs.people import Actor, Home, People

LAB = 5000
ALICE, BOB, PI, ADMIN = 1001, 1002, 1003, 1005


def people(level: PermissionLevel, *more: Actor) -> People:
    lab = frozenset({LAB})
    actors = [
        Actor(ALICE, "alice", lab),
        Actor(BOB, "bob", lab),
        Actor(PI, "pi", lab, owner_of=lab),
        Actor(ADMIN, "admin", administrator=True),
        *more,
    ]
    return People({actor.uid: actor for actor in actors}, {LAB: level}, {b"alice_2": Home(ALICE, LAB, lab)})


def named(value: bytes | None) -> dict[int, str]:
    """Return the named users of an ACL with their bits, as getfacl writes them."""
    assert value is not None and value[:4] == struct.pack("<I", 2)
    entries = struct.iter_unpack("<HHI", value[4:])
    return {who: "".join(letter if bits & bit else "-" for letter, bit in zip("rwx", (4, 2, 1), strict=True))
            for tag, bits, who in entries if tag == 2}  # fmt: skip


def shown(kind: Kind, level: PermissionLevel, stored: Stored | None = None) -> acl.Shown:
    return acl.shown(people(level), kind, Whose(ALICE, LAB, level), stored or Stored(ALICE, 0o644))


@pytest.mark.parametrize(
    ("level", "bob", "pi"),
    [
        (PermissionLevel.PRIVATE, None, "r--"),
        (PermissionLevel.READ_ONLY, "r--", "rw-"),
        (PermissionLevel.READ_ANNOTATE, "rw-", "rw-"),
        (PermissionLevel.READ_WRITE, "rw-", "rw-"),
    ],
)
def test_w_on_an_original_means_may_annotate(level: PermissionLevel, bob: str | None, pi: str) -> None:
    answer = shown(Kind.ORIGINAL, level)
    assert named(answer.acl).get(BOB) == bob
    assert named(answer.acl)[PI] == pi
    assert named(answer.acl)[ADMIN] == "r--"  # without a privilege
    assert answer.mode >> 6 == 0o6
    assert answer.mode & 0o007 == 0


def test_w_on_a_drop_is_for_who_edits_or_imports() -> None:
    assert named(shown(Kind.DROP, PermissionLevel.READ_ANNOTATE).acl) == {BOB: "r--", PI: "rw-", ADMIN: "r--"}


@pytest.mark.parametrize("level", PermissionLevel)
def test_a_log_is_written_by_nobody(level: PermissionLevel) -> None:
    answer = shown(Kind.LOG, level)
    assert answer.mode & 0o222 == 0
    assert set(named(answer.acl).values()) == {"r--"}


def test_the_owners_bits_of_a_drop_are_as_she_set_them_and_bind_nobody_else() -> None:
    answer = shown(Kind.DROP, PermissionLevel.READ_WRITE, Stored(ALICE, 0o577))
    assert answer.mode >> 6 == 0o5
    assert named(answer.acl)[BOB] == "rwx"


def test_a_directory_shows_its_set_group_id_bit_and_nothing_else_a_special_one() -> None:
    assert shown(Kind.DIRECTORY, PermissionLevel.READ_ONLY, Stored(ALICE, 0o7755)).mode & 0o7000 == 0o2000
    for kind in (Kind.DROP, Kind.ORIGINAL, Kind.LOG, Kind.HOME, Kind.IMPORT_DIRECTORY):
        assert shown(kind, PermissionLevel.READ_ONLY, Stored(ALICE, 0o7755)).mode & 0o7000 == 0


def test_a_drop_that_another_has_made_belongs_to_her_and_its_user_has_every_right() -> None:
    answer = shown(Kind.DROP, PermissionLevel.PRIVATE, Stored(PI, 0o600))
    assert answer.mode >> 6 == 0o6
    assert named(answer.acl)[ALICE] == "rw-"
    lost = shown(Kind.DROP, PermissionLevel.READ_ONLY, Stored(BOB, 0o600))  # made when he was an owner of the group
    assert lost.mode >> 6 == 0o4


def test_without_others_the_bits_say_it_all() -> None:
    alone = People({ALICE: Actor(ALICE, "alice", frozenset({LAB}))}, {LAB: PermissionLevel.READ_WRITE})
    answer = acl.shown(alone, Kind.DIRECTORY, Whose(ALICE, LAB, PermissionLevel.READ_WRITE), Stored(ALICE, 0o755))
    assert answer == acl.Shown(0o700, None)


def test_the_mask_is_the_groups_bits() -> None:
    answer = shown(Kind.IMPORT_DIRECTORY, PermissionLevel.READ_WRITE)
    assert answer.mode == 0o770
    assert (0x10, 7, 0xFFFFFFFF) in struct.iter_unpack("<HHI", (answer.acl or b"")[4:])


def test_who_no_longer_is_anybody_has_not_even_the_owners_bits() -> None:
    gone = People({}, {LAB: PermissionLevel.READ_WRITE})
    for kind in Kind:
        answer = acl.shown(gone, kind, Whose(ALICE, LAB, PermissionLevel.READ_WRITE), Stored(ALICE, 0o777))
        assert answer == acl.Shown(0, None)


def test_more_people_than_the_kernel_takes_shut_out_the_last_and_nobody_else() -> None:
    crowd = [Actor(uid, f"u{uid}", frozenset({LAB})) for uid in range(10_000, 10_600)]
    level = PermissionLevel.READ_ONLY
    answer = acl.shown(people(level, *crowd), Kind.ORIGINAL, Whose(ALICE, LAB, level), Stored(ALICE, 0o600))
    assert len(answer.acl or b"") <= 4096
    assert len(named(answer.acl)) == acl.MOST_NAMED
    assert PI in named(answer.acl)


@given(st.binary(max_size=64))
def test_what_is_no_acl_is_refused(value: bytes) -> None:
    than = shown(Kind.DROP, PermissionLevel.READ_ONLY)
    if value[:4] != struct.pack("<I", 2) or len(value) % 8 != 4:
        with pytest.raises(ValueError, match="ACL"):
            acl.grants_no_more(value, than.acl)


def test_an_acl_may_be_set_that_lets_nobody_else_in() -> None:
    than = shown(Kind.DROP, PermissionLevel.READ_ONLY)
    assert than.acl is not None
    assert acl.grants_no_more(than.acl, than.acl)
    plain = struct.pack("<IHHIHHIHHI", 2, 1, 6, 0xFFFFFFFF, 4, 4, 0xFFFFFFFF, 0x20, 4, 0xFFFFFFFF)
    assert acl.grants_no_more(plain, than.acl)  # what chmod could say: it is not heeded either
    eve = struct.pack("<IHHI", 2, 2, 4, 6666)
    assert not acl.grants_no_more(eve, than.acl)
    more = struct.pack("<IHHI", 2, 2, 6, BOB)
    assert not acl.grants_no_more(more, than.acl)
    group = struct.pack("<IHHI", 2, 8, 4, LAB)
    assert not acl.grants_no_more(group, than.acl)
