"""Queries of OMERO.tables select what NumPy would, and are refused with a sentence when they cannot be."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiledb

from repofs.errors import InvalidValue
from repofs.table import Selection
from repofs.tables import array, creating, query, reading

CTX = array.context(512 << 20)
FRAME = pd.DataFrame(
    {
        "id": [0, 1, 2, 3, 4, 5],
        "area": [-1.5, 0.0, 2.0, np.nan, np.inf, 7.25],
        "name": ["a", "é", "", "it's", 'say "x"', "`tick`"],
        "note": ["a", None, "", "b", None, "a"],
        "flag": [True, False, True, False, True, False],
        "count": pd.array([-1, None, 2, 3, None, 5], dtype="Int64"),
        "sure": pd.array([True, None, False, True, None, False], dtype="boolean"),
        "small": np.array([0, 1, 2, 3, 254, 255], dtype="uint8"),
        "at": pd.to_datetime(
            ["2024-01-01", None, "1960-06-01", "2024-01-01 10:00", "2025-01-01", None], format="ISO8601"
        ),
        "mean.area": [1, 2, 3, 4, 5, 6],
        "na me": [1, 2, 3, 4, 5, 6],
        "and": [1, 2, 3, 4, 5, 6],
    }
)
VARIABLES: dict[str, Any] = {
    "who": "é",
    "limit": 2,
    "ids": [1, 5],
    "when": datetime(2024, 1, 1),
    "area_": np.float64(2.0),
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tables") / "t.tiledb"
    creating.create(FRAME, path, chunk_size=4)
    return str(path)


def ids(table: str, text: str) -> list[int]:
    selection = Selection(column_names=("id",), query=text, variables=VARIABLES)
    return [row for batch in reading.batches(table, selection, CTX) for row in batch.column("id").to_pylist()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id > 3", [4, 5]),
        ("3 < id", [4, 5]),
        ("(id > 1) & (name == '')", [2]),
        ("(id < 1) | ~(id <= 4)", [0, 5]),
        ("id < 1 or not id <= 4 and flag", [0]),
        ("1 <= id < 3", [1, 2]),
        ("not (1 <= id < 3)", [0, 3, 4, 5]),
        ("id == -1", []),
        ("id in [1, 5, 9]", [1, 5]),
        ("id not in (1, 5)", [0, 2, 3, 4]),
        ("id in ids", [1, 5]),
        ("id in []", []),
        ("id not in []", [0, 1, 2, 3, 4, 5]),
        ("count in [-1, 3, 5]", [0, 3, 5]),
        ("count not in [-1, 3]", [2, 5]),
        ("small in [1, 255, 256, -1]", [1, 5]),
        ("name in ['é', 'a']", [0, 1]),
        ("name == who", [1]),
        ("name == b'a'", [0]),
        ('name == "it\'s"', [3]),
        ("name == 'say \"x\"'", [4]),
        ("name == '`tick`'", [5]),
        ("name > 'a'", [1, 3, 4]),
        ("id > limit", [3, 4, 5]),
        ("area == area_", [2]),
        ("flag", [0, 2, 4]),
        ("~flag & (id > 1)", [3, 5]),
        ("flag == False", [1, 3, 5]),
        ("flag in [True]", [0, 2, 4]),
        ("True", [0, 1, 2, 3, 4, 5]),
        ("`mean.area` > 5", [5]),
        ("attr('na me') <= 1 or `and` == 2", [0, 1]),
        # values that the column's type does not hold
        ("id > 2.5", [3, 4, 5]),
        ("id >= 2.5", [3, 4, 5]),
        ("id < 2.5", [0, 1, 2]),
        ("id <= 2.5", [0, 1, 2]),
        ("id == 2.5", []),
        ("id != 2.5", [0, 1, 2, 3, 4, 5]),
        ("id == 2.0", [2]),
        ("id < 1e300", [0, 1, 2, 3, 4, 5]),
        ("id > 1e999", []),
        ("small > 300", []),
        ("small < 300", [0, 1, 2, 3, 4, 5]),
        ("small != 256", [0, 1, 2, 3, 4, 5]),
        ("small == 256", []),
        ("small >= -1", [0, 1, 2, 3, 4, 5]),
        ("id < " + "9" * 400, [0, 1, 2, 3, 4, 5]),
        ("area < " + "9" * 400, [0, 1, 2, 5]),
        # what is missing
        ("count > -100", [0, 2, 3, 5]),
        ("count != 3", [0, 2, 5]),
        ("~(count > 2)", [0, 2]),
        ("count < 1e30", [0, 2, 3, 5]),
        ("count == None", [1, 4]),
        ("count != None", [0, 2, 3, 5]),
        ("id == None", []),
        ("note == None", [1, 4]),
        ("note != 'a'", [2, 3]),
        ("sure", [0, 3]),
        ("~sure", [2, 5]),
        ("area > -1e999", [0, 1, 2, 4, 5]),
        ("area != 2", [0, 1, 3, 4, 5]),
        ("area == 1e999", [4]),
        ("~(area <= 2)", [4, 5]),
        ("at == None", [1, 5]),
        # times
        ("at >= '2024-01-01'", [0, 3, 4]),
        ("at < '2024-01-01T09:59:59.5'", [0, 2]),
        ("at == when", [0]),
        ("at != when", [1, 2, 3, 4, 5]),
        ("~(at > when)", [0, 2]),
        ("at < '2500-01-01'", [0, 2, 3, 4]),
    ],
)
def test_rows_that_are_asked_for(table: str, text: str, expected: list[int]) -> None:
    assert ids(table, text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "cannot be read"),
        ("id >", "cannot be read"),
        ("id = 3", "cannot be read"),
        ("nope > 1", "'nope' is neither a column nor a variable"),
        ("id > nope", "'nope' is neither a column nor a variable"),
        ("`nope` > 1", "'nope' is neither a column nor a variable"),
        ("id > 1 & flag", "set each comparison in parentheses"),
        ("id + 1 > 2", "not supported"),
        ("sqrt(area) > 2", "not supported"),
        ("mean.area > 5", "backticks"),
        ("id == area", "compare one column with one value"),
        ("1 == 1", "compare one column with one value"),
        ("id is 1", "the operators are"),
        ("id", "is no condition"),
        ("'a'", "is no condition"),
        ("id == 'a'", "compared with whole numbers, not with 'a'"),
        ("area == 'a'", "compared with numbers"),
        ("name == 5", "compared with texts"),
        ("flag == 2", "compared with True and False"),
        ("flag > True", "there are == and !="),
        ("count > None", "there are == and !="),
        ("at > 5", "compared with times"),
        ("at > 'yesterday'", "compared with times"),
        ("id in 5", "a column in a list"),
        ("id in nope", "neither"),
        ("__import__('os').system('true')", "not supported"),
        ("(lambda: 1)()", "not supported"),
        ("[x for x in ids]", "not supported"),
        ("(" * 150 + "id > 1" + ")" * 150 + " | " + "~" * 150 + "flag", "nested too deeply"),
        ("(" * 5000, "cannot be read"),
        ("id > 1 or " * 6000 + "flag", "too long|has 6000"),
        ("x" * 70_000, "70000 characters"),
        ("id > 1\0", "cannot be read"),
    ],
)
def test_a_query_that_cannot_be_is_refused(table: str, text: str, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        ids(table, text)


def test_rows_of_a_query_know_their_numbers(table: str) -> None:
    selection = Selection(column_names=("id",), query="small > 200")
    [(numbers, batch)] = reading.numbered(table, selection, CTX)
    assert numbers.tolist() == batch.column("id").to_pylist() == [4, 5]


def test_thousands_of_values_are_one_comparison(table: str) -> None:
    """One by one they took 19 s."""
    with array.opened(table, CTX) as opened:
        for text in (f"id in {list(range(-1, 5000))}", f"name in {[str(n) for n in range(5000)]}"):
            compiled = query.compiled(text, {}, opened)
            assert compiled is not None and compiled.count("==") <= 1
    assert ids(table, f"id in {list(range(3, 5000))}") == [3, 4, 5]


def test_categories_of_another_writer(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [0, 1, 2], "kind": pd.Categorical(["b", "a", "b"])})
    tiledb.from_pandas(str(tmp_path / "t"), frame, sparse=True, full_domain=True)
    asked = {
        "kind == 'b'": [0, 2],
        "kind != 'b'": [1],
        "kind in ['a', 'z']": [1],
        "kind == 'z'": [],
        "kind != 'z'": [0, 1, 2],
    }
    assert {text: ids(str(tmp_path / "t"), text) for text in asked} == asked
    with pytest.raises(InvalidValue, match="of categories"):
        ids(str(tmp_path / "t"), "kind > 'a'")
