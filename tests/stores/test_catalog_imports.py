"""The rows of imports: begun, advanced once, found again after a crash."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repofs.catalog import imports
from repofs.catalog.engine import Connection
from repofs.errors import NotFound
from repofs.lifecycle import State
from repofs.model import ImportId
from tests.helpers.catalogue import drop, lab

NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name)


def test_what_is_begun_is_found_as_it_was(conn: Connection) -> None:
    alice = lab(conn).alice
    drops = [drop(alice, b"a.tif"), drop(alice, b"P/D/b.tif", inode=2**64 - 1, device=2**63, attempts=2)]
    begun = imports.begin(conn, drops)
    assert begun == [1, 2]
    rows = imports.unfinished(conn)
    assert [row.intent for row in rows] == drops
    assert [(row.id, row.state, row.error, row.ended) for row in rows] == [
        (number, State.IMPORTING, None, None) for number in begun
    ]
    assert imports.get(conn, begun[1]) == rows[1]


def test_nothing_to_begin_is_nothing_begun(conn: Connection) -> None:
    assert imports.begin(conn, []) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_any_name_round_trips(conn: Connection, name: bytes) -> None:
    with conn.begin_nested() as attempt:
        [number] = imports.begin(conn, [drop(lab(conn).alice, name)])
        assert imports.get(conn, number).intent.path == name
        attempt.rollback()


@pytest.mark.parametrize(("mtime_ns", "kept"), [(-(10**18), -(10**18)), (10**20, 2**63 - 1), (-(10**20), 1 - 2**63)])
def test_times_beyond_64_bits_become_the_nearest(conn: Connection, mtime_ns: int, kept: int) -> None:
    [number] = imports.begin(conn, [drop(lab(conn).alice, mtime_ns=mtime_ns)])
    assert imports.get(conn, number).intent.mtime_ns == kept


def test_only_the_first_of_two_advances(conn: Connection) -> None:
    [number] = imports.begin(conn, [drop(lab(conn).alice)])
    assert imports.advance(conn, number, State.IMPORTING, State.FAILED, error="no reader: retry")
    assert not imports.advance(conn, number, State.IMPORTING, State.SETTLING)
    row = imports.get(conn, number)
    assert (row.state, row.error) == (State.FAILED, "no reader: retry")
    assert row.ended is not None
    assert imports.unfinished(conn) == []


def test_going_on_clears_the_error_and_the_end(conn: Connection) -> None:
    [number] = imports.begin(conn, [drop(lab(conn).alice)])
    imports.advance(conn, number, State.IMPORTING, State.FAILED, error="no")
    assert imports.advance(conn, number, State.FAILED, State.SETTLING)
    row = imports.get(conn, number)
    assert (row.state, row.error, row.ended) == (State.SETTLING, None, None)


def test_a_step_that_life_does_not_have_is_refused(conn: Connection) -> None:
    [number] = imports.begin(conn, [drop(lab(conn).alice)])
    with pytest.raises(ValueError, match="no way from importing to writing"):
        imports.advance(conn, number, State.IMPORTING, State.WRITING)
    assert imports.get(conn, number).state is State.IMPORTING


def test_finishing_what_is_not_importing_is_an_error(conn: Connection) -> None:
    first, second = imports.begin(conn, [drop(lab(conn).alice)] * 2)
    imports.advance(conn, second, State.IMPORTING, State.SETTLING)
    with pytest.raises(LookupError):
        imports.finish(conn, [(first, "now"), (second, "now")])


def test_an_unknown_import_is_not_found(conn: Connection) -> None:
    with pytest.raises(NotFound):
        imports.get(conn, ImportId(9))
