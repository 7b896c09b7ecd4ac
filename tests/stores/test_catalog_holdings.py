"""Sums of the catalogue: what originals and trash hold, by whatever they are told apart, and for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from repofs.catalog import filesets, holdings, moves, trash, usage, users
from repofs.catalog.engine import Connection
from repofs.importer import transactions
from repofs.importer.wire import Move
from repofs.model import Identity, Origin, PermissionLevel
from repofs.quotas import Held
from repofs.usage import By, Sum, Sums
from repofs.views import Seen
from tests.helpers.catalogue import Import, Lab, finished, imported, lab, user_directory

ALL = Seen(0, True, (), ())


@pytest.fixture
def people(conn: Connection) -> Lab:
    """Alice has two files of 10 bytes in a dataset, one of 10 in place outside, one of 7 in the trash; Bob has one."""
    people = lab(conn)
    imported(conn, Import(people.alice, (b"P/D/a", b"P/D/b")))
    origin = Origin("scope", "c", Identity(1, 2, b"", 10, 1, 1), "ln_s")
    outside = finished(conn, Import(people.alice, (b"c",)))
    filesets.record(conn, [replace(outside, entries=(replace(outside.entries[0], origin=origin),), transfer="ln_s")])
    imported(conn, Import(people.bob, (b"d",)))
    [deleted] = imported(conn, Import(people.alice, (b"e",)))
    trash.discard(conn, deleted.fileset_id, people.alice.uid, (), 7)
    return people


def test_what_is_held_by_user_and_group(conn: Connection, people: Lab) -> None:
    alice, bob = user_directory(people.alice), user_directory(people.bob)
    assert sorted(holdings.held(conn), key=str) == [
        Held(alice, 5000, originals=20, original_files=3),
        Held(alice, 5000, originals=7, original_files=1),
        Held(bob, 5000, originals=10, original_files=1),
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (By.USER, {b"alice_0": (20, 3, 10, 7), b"bob_1": (10, 1, 0, 0)}),
        (By.GROUP, {5000: (30, 4, 10, 7)}),
        (By.TARGET, {b"P/D (Dataset:1)": (20, 2, 0, 0), None: (10, 2, 10, 7)}),
        (By.TRANSFER, {b"upload": (30, 3, 0, 0), b"ln_s": (0, 1, 10, 0), None: (0, 0, 0, 7)}),
        (By.STATE, {b"imported": (30, 4, 10, 0), b"in the trash": (0, 0, 0, 7)}),
    ],
)
def test_sums_by_each(conn: Connection, people: Lab, by: By, expected: dict[object, tuple[int, ...]]) -> None:
    found: dict[object, Sum] = {}
    for one in usage.sums(conn, Sums(by, ALL)):
        found.setdefault(one.key, Sum(one.key)).add(one)
    told = {key: (one.originals, one.original_files, one.outside, one.trash) for key, one in found.items()}
    names = {user_directory(people.alice): b"alice_0", user_directory(people.bob): b"bob_1"}
    assert {names.get(key, key) if isinstance(key, bytes) else key: value for key, value in told.items()} == expected


def test_who_sees_her_own_alone_is_told_of_that_alone(conn: Connection, people: Lab) -> None:
    found = usage.sums(conn, Sums(By.USER, Seen(people.bob.uid, False, (), (5000,))))
    assert [(one.key, one.total) for one in found] == [(user_directory(people.bob), 10)]


def test_filesets_that_move_take_their_bytes_along(conn: Connection, people: Lab) -> None:
    users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)
    [alice] = {one.user_directory for one in holdings.held(conn)} - {user_directory(people.bob)}
    [(_, changes)] = transactions.move(conn, [Move(1, (1, 2), 6000, 5001, b"alice")])  # type: ignore[misc]
    assert changes == [
        Held(alice, 5000, originals=-20, original_files=-3),
        Held(alice, 6000, originals=20, original_files=3),
    ]


def test_a_quota_is_set_changed_and_forgotten(conn: Connection) -> None:
    holdings.set_quota(conn, holdings.USER, 2, 100)
    holdings.set_quota(conn, holdings.GROUP, 2, 5)
    holdings.set_quota(conn, holdings.USER, 2, None)
    assert holdings.quotas_of(conn, holdings.USER) == {2: None}
    holdings.forget_quota(conn, holdings.USER, 2)
    assert (holdings.quotas_of(conn, holdings.USER), holdings.quotas_of(conn, holdings.GROUP)) == ({}, {2: 5})


def test_many_filesets_are_summed_in_parts(conn: Connection, people: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "_CHUNK", 1)
    found = holdings.held_by(conn, [1, 2, 3])  # type: ignore[misc]
    assert sum(one.originals for one in found) == 30
