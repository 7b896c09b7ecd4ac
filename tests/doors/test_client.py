"""Tables for Python programs, by the path of an array: where there is no mount."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import repofs
from repofs import client, client_mount, mounts
from repofs.errors import AlreadyExists, InvalidValue, NotFound
from repofs.tables import creating

FRAME = pd.DataFrame({"image": [5, 6, 7, 8], "a.b": [0.5, np.nan, 2.5, 3.5], "name": ["a", None, "é", "d"]})


@pytest.fixture
def table(tmp_path: Path) -> Path:
    creating.create(FRAME, tmp_path / "t.tiledb", chunk_size=3)
    return tmp_path / "t.tiledb"


def test_a_table_is_read_with_the_numbers_of_its_rows(table: Path) -> None:
    pd.testing.assert_frame_equal(repofs.read_table(table), FRAME, check_index_type=False)


@pytest.mark.parametrize("rows", [[3, 0], [2, 2, 1], range(1, 3), range(3, 0, -1), np.array([1, 3]), (), range(2, 2)])
def test_rows_come_as_they_are_named(table: Path, rows: Any) -> None:
    found = repofs.read_table(table, rows=rows)
    pd.testing.assert_frame_equal(found, FRAME.loc[list(rows)], check_index_type=False, check_dtype=len(rows) > 0)


def test_what_a_query_finds_keeps_its_numbers(table: Path) -> None:
    found = repofs.read_table(
        table, column_names=["name"], query="(`a.b` > least) | (image == 5)", variables={"least": 3}
    )
    assert found.to_dict() == {"name": {0: "a", 3: "d"}}


def test_a_query_without_rows_has_the_columns(table: Path) -> None:
    found = repofs.read_table(table, query="image > 100")
    assert (found.dtypes.to_dict(), len(found)) == (FRAME.dtypes.to_dict(), 0)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"rows": [4]}, "no row 4"),
        ({"rows": range(-2, 0)}, "no row -2"),
        ({"rows": [1], "query": "image > 1"}, "give rows or query"),
        ({"column_names": ["nope"]}, "no column 'nope'"),
        ({"query": "image > nope"}, "neither a column nor a variable"),
        ({"annotation_id": 9}, "exactly one of path"),
    ],
)
def test_what_cannot_be_read_is_refused(table: Path, asked: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        repofs.read_table(table, **asked)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    for function in (repofs.read_table, repofs.get_table_size, repofs.get_table_columns):
        with pytest.raises(NotFound, match=r"none\.tiledb: there is no such array"):
            function(tmp_path / "none.tiledb")


def test_size_and_columns(table: Path) -> None:
    assert repofs.get_table_size(table) == (4, 3)
    assert repofs.get_table_columns(table) == ("image", "a.b", "name")


def test_a_download_is_whole_and_replaces_nothing(table: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    repofs.download_table(target, table)
    assert target.read_text() == FRAME.to_csv(index=False)
    with pytest.raises(AlreadyExists, match=f"^{target} exists"):
        repofs.download_table(target, table, column_names=["image"])
    with pytest.raises(InvalidValue, match=r"\.csv \.parquet \.arrow"):
        repofs.download_table(tmp_path / "t.xlsx", table)
    assert target.read_text() == FRAME.to_csv(index=False)
    with pytest.raises(InvalidValue):
        repofs.download_table(tmp_path / "other.csv", table, query="nope > 1")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["t.csv", "t.tiledb"]


@pytest.mark.parametrize(
    ("mountpoints", "reason"), [((), "no repofs is mounted"), (("/a", "/b"), "REPOFS_MOUNT, in Python also .*: /a, /b")]
)
def test_a_mount_is_named_where_there_is_not_one(
    monkeypatch: pytest.MonkeyPatch, mountpoints: tuple[str, ...], reason: str
) -> None:
    there = [mounts.Mount(1, Path(one), mounts.FILE_SYSTEM_TYPE, Path("/r")) for one in mountpoints]
    monkeypatch.setattr(mounts, "all_mounts", lambda: there)
    monkeypatch.delenv("REPOFS_MOUNT", raising=False)
    with pytest.raises(InvalidValue, match=reason):
        client_mount.find(None)


@pytest.mark.parametrize(
    ("place", "name", "expected"),
    [
        ("/x/y.tiledb", "cells", "/x/y.tiledb"),
        ("/x", "cells", "/x/cells.tiledb"),
        ("/x", "v1.2 final", "/x/v1.2 final.tiledb"),
    ],
)
def test_where_an_array_is_made(place: str, name: str, expected: str) -> None:
    assert str(client.array_path(place, name)) == expected


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        (None, "/x/t.tiledb"),
        ("s3://bucket/t.tiledb", "s3://bucket/t.tiledb"),
        ("/data/tables/", "/data/tables/t.tiledb"),
        ("J:\\tables", "J:\\tables\\t.tiledb"),
        ("J:/tables", "J:/tables/t.tiledb"),
    ],
)
def test_how_the_repository_calls_an_array(remote: str | None, expected: str) -> None:
    assert client.remote_uri(remote, Path("/x/t.tiledb")) == expected


def test_links_are_each_once_and_at_least_one() -> None:
    assert client._links(1, "image", [("Image", 1), ("Dataset", 2)]) == [("Image", 1), ("Dataset", 2)]
    assert client._links(None, "Image", ("Plate", 3)) == [("Plate", 3)]
    with pytest.raises(InvalidValue, match="parent_id or links"):
        client._links(None, "Image", None)


def test_importing_repofs_loads_no_library() -> None:
    loaded = (
        "import sys, repofs; print([name for name in ('pandas', 'tiledb', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"
