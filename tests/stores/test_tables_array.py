"""Arrays as omero2pandas makes them: what is found in them, and that a rotated token is gone from their history."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiledb

from repofs.errors import InvalidValue, NotFound
from repofs.table import Column, Secret, Selection
from repofs.tables import array, creating, reading

CTX = array.context(512 << 20)
TOKEN = Secret(b"the-token")


def by_omero2pandas(path: Path, frame: pd.DataFrame, chunk: int = 1000) -> Path:
    """Make an array as omero2pandas 0.4.2 does."""
    for start in range(0, len(frame), chunk):
        tiledb.from_pandas(
            str(path), frame.iloc[start : start + chunk], sparse=True, full_domain=True, tile=10000, attr_filters=None,
            row_start_idx=start, allows_duplicates=False, mode="append" if start else "ingest",
        )  # fmt: skip
    with tiledb.open(str(path), "w") as made:
        made.meta["__version"] = "3"
        made.meta["__initialized"] = time.time()
        made.meta["SecretToken"] = TOKEN.reveal().decode()
    return path


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"image": np.arange(2500), "area": np.arange(2500) / 2, "name": [f"é{n}" for n in range(2500)]})


@pytest.fixture
def table(tmp_path: Path, frame: pd.DataFrame) -> Path:
    creating.create(frame, tmp_path / "t.tiledb", token=TOKEN, chunk_size=1000)
    return tmp_path / "t.tiledb"


def test_an_array_is_made_as_omero2pandas_makes_it(tmp_path: Path, table: Path, frame: pd.DataFrame) -> None:
    theirs = by_omero2pandas(tmp_path / "theirs.tiledb", frame.drop(columns="name"))
    creating.create(frame.drop(columns="name"), tmp_path / "ours.tiledb")
    with tiledb.open(str(theirs)) as one, tiledb.open(str(tmp_path / "ours.tiledb")) as other:
        assert other.schema == one.schema
        assert other.meta.keys() == one.meta.keys()
        assert other.meta["__pandas_index_dims"] == one.meta["__pandas_index_dims"]
        assert other.meta["__version"] == "3" and isinstance(other.meta["__initialized"], float)
    pd.testing.assert_frame_equal(tiledb.open_dataframe(str(table)), frame)


def test_what_an_array_is(table: Path) -> None:
    found = array.examine(str(table), CTX)
    assert found.rows == 2500
    assert found.columns == (
        Column("image", "Image", "int64"),
        Column("area", "Double", "float64"),
        Column("name", "String", "string", nullable=True),
    )
    assert found.token is not None and found.token.reveal() == TOKEN.reveal()
    assert len(json.loads(found.manifest)["fragments"]) == 3


def test_an_appended_row_changes_the_manifest_and_a_token_does_not(table: Path) -> None:
    before = array.examine(str(table), CTX).manifest
    array.rotate(str(table), Secret(b"another"), CTX)
    assert array.examine(str(table), CTX).manifest == before
    with tiledb.open(str(table), "w") as appended:
        appended[np.array([2500])] = {"image": np.array([1]), "area": np.array([1.0]), "name": np.array(["x"], object)}
    after = array.examine(str(table), CTX)
    assert (after.rows, after.manifest == before) == (2501, False)


def test_the_holes_between_the_chunks_of_omero2pandas_are_no_rows(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = str(by_omero2pandas(tmp_path / "t.tiledb", frame))
    with tiledb.open(path) as made:
        assert made.nonempty_domain() == ((0, 4499),)  # the premise
    assert array.examine(path, CTX).rows == 2500
    [batch] = reading.batches(path, Selection(rows=(999, 1000, 2499)), CTX)
    assert batch.column("image").to_pylist() == [999, 1000, 2499]
    numbers = [int(one) for part, _ in reading.numbered(path, Selection(start=998, stop=1002), CTX) for one in part]
    assert numbers == [998, 999, 1000, 1001]


def test_holes_within_a_fragment_and_rows_written_twice_are_counted_right(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = str(by_omero2pandas(tmp_path / "t.tiledb", frame))
    tiledb.consolidate(path)
    tiledb.vacuum(path)
    with tiledb.open(path, "w") as again:
        again[np.array([0, 2000])] = {
            "image": np.array([-1, -2]), "area": np.zeros(2), "name": np.array(["a", "b"], object),
        }  # fmt: skip
    assert array.examine(path, CTX).rows == 2500
    [batch] = reading.batches(path, Selection(column_names=("image",), rows=(0, 1, 1000, 1001)), CTX)
    assert batch.column("image").to_pylist() == [-1, 1, -2, 1001]


@pytest.mark.parametrize("consolidated", [False, True])
def test_deleted_rows_are_none(table: Path, consolidated: bool) -> None:
    with tiledb.open(str(table), "d") as deleting:
        deleting.query(cond="image < 1500 and image >= 500").submit()
    if consolidated:
        tiledb.consolidate(str(table), config=tiledb.Config({"sm.consolidation.mode": "commits"}))
        tiledb.vacuum(str(table), config=tiledb.Config({"sm.vacuum.mode": "commits"}))
    assert array.examine(str(table), CTX).rows == 1500
    [batch] = reading.batches(str(table), Selection(column_names=("image",), start=499, stop=501), CTX)
    assert batch.column("image").to_pylist() == [499, 1500]


def test_no_older_state_shows_the_token_that_was(table: Path) -> None:
    before = int(time.time() * 1000)
    array.rotate(str(table), Secret(b"another"), CTX)
    shown = set()
    for moment in (1, before - 1, before, before + 1, int(time.time() * 1000) + 1):
        with tiledb.open(str(table), timestamp=moment) as past:
            shown.add(past.meta.get("SecretToken"))
    assert shown <= {None, "another"} and "another" in shown
    found = array.examine(str(table), CTX).token
    assert found is not None and found.reveal() == b"another"
    written = b"".join(file.read_bytes() for file in (table / "__meta").iterdir())
    assert TOKEN.reveal() not in written


def test_without_consolidation_the_past_would_show_it(table: Path) -> None:
    """That the test above can fail."""
    time.sleep(0.002)  # the next millisecond: time stamps of metadata are in them
    before = int(time.time() * 1000)
    time.sleep(0.002)
    with tiledb.open(str(table), "w") as made:
        made.meta["SecretToken"] = "another"
    with tiledb.open(str(table), timestamp=before) as past:
        assert past.meta["SecretToken"] == TOKEN.reveal().decode()


@pytest.mark.parametrize(
    "token", [b"x" * 1025, 5, 1.5, (1, 2), ""], ids=["too long", "number", "float", "numbers", "empty"]
)
def test_a_token_that_is_none_is_refused_without_being_told(table: Path, token: object) -> None:
    with tiledb.open(str(table), "w") as made:
        made.meta["SecretToken"] = token
    with pytest.raises(InvalidValue, match="SecretToken is no text") as raised:
        array.examine(str(table), CTX)
    assert "xxx" not in str(raised.value)


def test_an_array_without_a_token_has_none(table: Path) -> None:
    with tiledb.open(str(table), "w") as made:
        del made.meta["SecretToken"]
    assert array.examine(str(table), CTX).token is None


def test_nothing_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        array.examine(str(tmp_path / "none"), CTX)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "directory").mkdir()
    for name in ("file", "directory"):
        with pytest.raises(InvalidValue, match="no TileDB array"):
            array.examine(str(tmp_path / name), CTX)


def _other(
    path: Path, *, name: str = "__tiledb_rows", dims: int = 1, sparse: bool = True, dtype: type = np.int64
) -> str:
    parts = [tiledb.Dim(name if n == 0 else f"d{n}", domain=(0, 9), tile=10, dtype=dtype) for n in range(dims)]
    schema = tiledb.ArraySchema(tiledb.Domain(*parts), [tiledb.Attr("a", dtype=np.int64)], sparse=sparse)
    tiledb.Array.create(str(path), schema)
    return str(path)


@pytest.mark.parametrize("wrong", [{"name": "rows"}, {"dims": 2}, {"sparse": False}, {"dtype": np.float64}])
def test_another_array_is_no_table(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match="this array is no table"):
        array.examine(_other(tmp_path / "a", **wrong), CTX)  # type: ignore[arg-type]


def test_an_array_without_rows_has_none(tmp_path: Path) -> None:
    assert array.examine(_other(tmp_path / "a"), CTX).rows == 0


@pytest.mark.parametrize("part", ["__schema", "__fragments"])
def test_a_truncated_array_is_refused(table: Path, part: str) -> None:
    files = [file for file in (table / part).rglob("*") if file.is_file()]
    largest = max(files, key=lambda file: file.name == "__fragment_metadata.tdb")
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])
    with pytest.raises(InvalidValue, match="cannot be read"):
        array.examine(str(table), CTX)


def test_what_tiledb_says_tells_no_path(table: Path) -> None:
    shutil.rmtree(table / "__schema")
    (table / "__schema").mkdir()
    with pytest.raises(InvalidValue) as raised:
        array.examine(str(table), CTX)
    assert str(table) not in str(raised.value)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_is_neither_file_nor_directory_in_it_is_refused_at_once(table: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(table / "__meta" / "fifo")
    else:
        os.symlink("/etc/passwd", table / "__meta" / "link")
    with pytest.raises(InvalidValue, match="neither a file nor a directory"):
        array.examine(str(table), array.context(1 << 30))
