"""Ids are handed out once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from repofs.catalog import ids, users
from repofs.catalog.engine import Connection, Engine


def test_ids_go_on_where_they_ended(conn: Connection) -> None:
    assert list(ids.reserve(conn, "Fileset", 3)) == [1, 2, 3]
    assert list(ids.reserve(conn, "Fileset", 1)) == [4]
    assert list(ids.reserve(conn, "Image", 2)) == [1, 2]
    assert list(ids.reserve(conn, "Fileset", 0)) == []


def test_people_begin_after_those_of_omero(conn: Connection) -> None:
    assert (ids.reserve(conn, "Experimenter", 1)[0], ids.reserve(conn, "ExperimenterGroup", 1)[0]) == (2, 3)


def test_an_unknown_kind_is_a_fault(conn: Connection) -> None:
    with pytest.raises(KeyError, match="Filest"):
        ids.reserve(conn, "Filest", 1)


def test_two_writers_never_get_the_same(catalogue: Engine) -> None:
    def reserve(_: int) -> list[int]:
        with catalogue.begin() as conn:
            users.groups(conn)  # reading first: a transaction that is not yet a writer's could not become one
            return list(ids.reserve(conn, "Import", 3))

    with ThreadPoolExecutor(4) as pool:
        got = [number for batch in pool.map(reserve, range(40)) for number in batch]
    assert sorted(got) == list(range(1, 121))
