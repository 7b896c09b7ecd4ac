"""Which originals are verified next, and what is written of them."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import text

from repofs.catalog import imports, news, verification
from repofs.catalog.engine import Connection
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.verification import Found
from repofs.lifecycle import State
from repofs.model import ObjectRef, OriginalFileId
from tests.helpers.catalogue import NOON, Import, imported, lab

LATER = "2026-12-24T12:00:00.000+00:00"
LATER_STILL = "2026-12-25T12:00:00.000+00:00"


@pytest.fixture
def filesets(conn: Connection) -> list[FinishedImport]:
    """Three files of alice, in two filesets, and one of bob."""
    there = lab(conn)
    several = Import(there.alice, (b"P/a.tif", b"P/b.tif"))
    return imported(conn, several, Import(there.alice, (b"Q/c.tif",)), Import(there.bob, (b"d.tif",)))


def number(fileset: FinishedImport, position: int = 0) -> OriginalFileId:
    return fileset.entries[position].original_id


def walk(conn: Connection, before: str, which: ObjectRef | bytes | None = None, limit: int = 1) -> list[int]:
    """Return the originals that are due, in their order, asked for *limit* at a time."""
    found: list[int] = []
    last = None
    while batch := verification.due(conn, which, before, last, limit):
        found += [one.original_id for one in batch]
        last = batch[-1]
    return found


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_never_then_longest_ago(conn: Connection, filesets: list[FinishedImport], limit: int) -> None:
    a, b = number(filesets[0]), number(filesets[0], 1)
    c, d = number(filesets[1]), number(filesets[2])
    assert walk(conn, LATER, limit=limit) == [a, b, c, d]
    verification.record(conn, [Found(a, State.IMPORTED, verified=LATER_STILL)])
    verification.record(conn, [Found(c, State.IMPORTED, verified=LATER)])
    assert walk(conn, "2027", limit=limit) == [b, d, c, a]
    assert walk(conn, LATER_STILL, limit=limit) == [b, d, c]
    assert walk(conn, NOON, limit=limit) == []  # imported at noon: what the import has read counts


def test_what_was_recorded_meanwhile_does_not_come_again(conn: Connection, filesets: list[FinishedImport]) -> None:
    [first] = verification.due(conn, None, LATER, None, 1)
    verification.record(conn, [Found(first.original_id, State.IMPORTED, verified=LATER)])
    assert first.original_id not in walk(conn, LATER)


def test_a_part(conn: Connection, filesets: list[FinishedImport]) -> None:
    of_alice = filesets[0].user_directory
    assert walk(conn, LATER, of_alice + b"/Q") == [number(filesets[1])]
    assert walk(conn, LATER, ObjectRef("Fileset", filesets[0].fileset_id)) == [
        one.original_id for one in filesets[0].entries
    ]
    assert verification.total(conn, of_alice, LATER) == (3, 30)
    assert verification.total(conn, None, NOON) == (0, 0)


def test_a_sample_is_random_and_of_its_size(conn: Connection, filesets: list[FinishedImport]) -> None:
    drawn = [frozenset(verification.sample(conn, None, LATER, 2)) for _ in range(200)]
    assert {len(one) for one in drawn} == {2}
    often = Counter(original for one in drawn for original in one)
    assert len(often) == 4 and min(often.values()) > 50  # of 100 expected; fewer once in 10**12 runs
    assert len(verification.sample(conn, None, LATER, 100)) == 4
    assert verification.sample(conn, None, NOON, 2) == []
    assert [one.original_id for one in verification.these(conn, sorted(drawn[0]))] == sorted(drawn[0])


def test_an_import_is_as_its_worst_file(conn: Connection, filesets: list[FinishedImport]) -> None:
    several = filesets[0]
    a, b = number(several), number(several, 1)

    def state() -> tuple[State, str | None]:
        row = imports.get(conn, several.import_id)
        return row.state, row.error

    assert verification.record(conn, [Found(a, State.ALTERED, "other bytes", LATER)]) == [True]
    assert state() == (State.ALTERED, "other bytes")
    assert news.after(conn, 0)[-1].kind is State.ALTERED
    told = news.newest(conn)
    verification.record(conn, [Found(b, State.MISSING, "gone")])
    assert state() == (State.ALTERED, "other bytes") and news.newest(conn) == told
    verification.record(conn, [Found(a, State.IMPORTED, verified=LATER_STILL)])
    assert state()[0] is State.MISSING
    verification.record(conn, [Found(b, State.IMPORTED)])
    assert state() == (State.IMPORTED, None) and news.after(conn, 0)[-1].kind is State.IMPORTED


def test_what_was_deleted_meanwhile(conn: Connection, filesets: list[FinishedImport]) -> None:
    gone, there = OriginalFileId(99), number(filesets[2])
    assert verification.record(conn, [Found(gone, State.MISSING), Found(there, State.IMPORTED)]) == [False, True]


def test_the_summary(conn: Connection, filesets: list[FinishedImport]) -> None:
    verification.record(conn, [Found(number(filesets[1]), State.ALTERED, "", LATER)])
    verification.record(conn, [Found(number(filesets[2]), State.OFFLINE)])
    told = verification.summary(conn, "2026-12-01")
    assert (told.files, told.due, told.never, told.oldest, told.newest) == (4, 3, 3, LATER, LATER)
    assert told.found == {State.ALTERED: 1, State.OFFLINE: 1}


def test_what_is_next_is_found_by_an_index(conn: Connection) -> None:
    queries = (
        "SELECT id FROM original_files WHERE verified IS NULL AND id > 5 ORDER BY id LIMIT 10",
        "SELECT id FROM original_files WHERE verified < 'x' AND (verified, id) > ('a', 5) ORDER BY verified, id",
        "SELECT stands, count(*) FROM original_files WHERE stands IS NOT NULL GROUP BY stands",
    )
    for query in queries:
        plan = [row.detail for row in conn.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
        assert any("INDEX ix_original_files_" in detail for detail in plan), plan
        assert not any("TEMP B-TREE" in detail for detail in plan), plan
