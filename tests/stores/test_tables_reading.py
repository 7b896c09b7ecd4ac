"""Rows come as they were stored, those that are selected and no others, whatever they are written as."""

from __future__ import annotations

import gc
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tiledb

from repofs.errors import InvalidValue
from repofs.table import Form, Selection
from repofs.tables import array, creating, exporting, reading

CTX = array.context(512 << 20)
ROWS = 3000


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    some = rng.random(ROWS) < 0.1
    return pd.DataFrame(
        {
            "image": np.arange(ROWS),
            "area.mean": rng.random(ROWS).astype("float32"),
            "big": rng.random(ROWS) * 10.0 ** rng.integers(-300, 300, ROWS),
            "na me": [None if lost else f'é,"{n}\n' for n, lost in enumerate(some)],
            "count": pd.array(np.where(some, None, np.arange(ROWS)), dtype="Int64"),
            "flag": pd.array(np.where(some, None, True), dtype="boolean"),
            "lit": rng.random(ROWS) < 0.5,
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(ROWS), unit="D"),
            "moment": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.where(some, 1, 0) * np.arange(ROWS), unit="ms"),
            "label": pd.array(["a", None, "b"] * (ROWS // 3), dtype="string"),
        }
    )


@pytest.fixture(scope="module")
def table(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tables") / "t.tiledb"
    creating.create(frame, path, chunk_size=700)
    return str(path)


END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def read(table: str, **selection: Any) -> pd.DataFrame:
    parts = [reading.frame(batch) for batch in reading.batches(table, Selection(**selection), CTX)]
    if parts:
        return pd.concat(parts, ignore_index=True)
    return reading.arrow_schema(table, Selection(**selection), CTX).empty_table().to_pandas()


def written(table: str, form: Form, **selection: Any) -> bytes:
    file = io.BytesIO()
    exporting.write(table, form, file, Selection(**selection), CTX)
    return file.getvalue()


def test_of_what_cannot_be_read_no_stream_is_begun(table: str) -> None:
    file = io.BytesIO()
    with pytest.raises(InvalidValue, match="neither a column nor a variable"):
        exporting.write(table, "arrow", file, Selection(query="nope > 1"), CTX)
    assert file.getvalue() == b""


def test_a_stream_that_breaks_off_has_no_mark_of_its_end(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(table, "arrow").endswith(END_OF_STREAM)

    def one_and_no_more(*asked: Any) -> Iterator[pa.RecordBatch]:
        yield next(reading.batches(*asked))
        raise InvalidValue("the array is damaged")

    monkeypatch.setattr(exporting, "batches", one_and_no_more)
    file = io.BytesIO()
    with pytest.raises(InvalidValue, match="damaged"):
        exporting.write(table, "arrow", file, Selection(), CTX)
    assert file.getvalue() and not file.getvalue().endswith(END_OF_STREAM)
    assert pa.ipc.open_stream(file.getvalue()).read_next_batch().num_rows


def test_all_rows_are_read_as_they_were_stored(table: str, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(read(table), frame)


def test_columns_come_in_the_order_that_is_asked_for(table: str, frame: pd.DataFrame) -> None:
    names = ("na me", "image")
    pd.testing.assert_frame_equal(read(table, column_names=names), frame[list(names)])


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 5), (699, 701), (2990, None), (None, 3), (-3, None), (10, 10), (5000, 6000)]
)
def test_a_range_of_rows(table: str, frame: pd.DataFrame, start: int | None, stop: int | None) -> None:
    found = read(table, column_names=("image",), start=start, stop=stop)
    assert found["image"].tolist() == frame["image"].iloc[start:stop].tolist()


def test_rows_by_number_come_once_and_in_order(table: str, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        read(table, rows=(2999, 5, 700, 5)), frame.iloc[[5, 700, 2999]].reset_index(drop=True)
    )
    assert read(table, rows=()).empty


def test_more_rows_by_number_than_fit_one_query(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_POINTS", 100)
    assert read(table, column_names=("image",), rows=tuple(range(0, ROWS, 2)))["image"].tolist() == list(
        range(0, ROWS, 2)
    )


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        ({"column_names": ("nope",)}, "no column 'nope'"),
        ({"column_names": ("image", "image")}, "named twice"),
        ({"rows": (1, ROWS)}, f"no row {ROWS}: the table has {ROWS} rows"),
        ({"rows": (-1,)}, "no row -1"),
        ({"rows": (1,), "start": 0}, "give one of them"),
        ({"rows": (1,), "query": "image > 1"}, "give one of them"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(table: str, selection: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        read(table, **selection)


@pytest.mark.parametrize("position", [0, 2])
def test_a_value_larger_than_a_buffer_is_read(tmp_path: Path, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BUFFER_BYTES", 64 << 10)
    texts = ["a", "b", "c", "d"]
    texts[position] = "x" * 5_000_000
    creating.create(pd.DataFrame({"text": texts}), tmp_path / "t")
    assert read(str(tmp_path / "t"))["text"].tolist() == texts
    assert read(str(tmp_path / "t"), rows=(0, 2, 3))["text"].tolist() == [texts[n] for n in (0, 2, 3)]


def test_a_value_larger_than_any_buffer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BUFFERS_BYTES", 1 << 20)
    monkeypatch.setattr(reading, "_BUFFER_BYTES", 64 << 10)
    creating.create(pd.DataFrame({"text": ["x" * 5_000_000]}), tmp_path / "t")
    with pytest.raises(InvalidValue, match="too large"):
        read(str(tmp_path / "t"))


def test_many_columns_share_the_buffers(tmp_path: Path) -> None:
    wide = pd.DataFrame(np.arange(6000).reshape(3, 2000), columns=[f"c{n}" for n in range(2000)])
    creating.create(wide, tmp_path / "t")
    pd.testing.assert_frame_equal(read(str(tmp_path / "t")), wide)


def test_categories_of_another_writer_are_read_as_their_values(tmp_path: Path) -> None:
    frame = pd.DataFrame({"kind": pd.Categorical(["b", "a", "b"])})
    tiledb.from_pandas(str(tmp_path / "t"), frame, sparse=True, full_domain=True)
    assert read(str(tmp_path / "t"))["kind"].tolist() == ["b", "a", "b"]


def test_values_of_several_parts_are_refused(tmp_path: Path) -> None:
    rows = tiledb.Dim("__tiledb_rows", domain=(0, 9), tile=10, dtype=np.int64)
    attributes = [tiledb.Attr("pair", dtype=np.dtype("i4, i4")), tiledb.Attr("a", dtype=np.int64)]
    tiledb.Array.create(str(tmp_path / "t"), tiledb.ArraySchema(tiledb.Domain(rows), attributes, sparse=True))
    with pytest.raises(InvalidValue, match="leave it out"):
        read(str(tmp_path / "t"))
    assert read(str(tmp_path / "t"), column_names=("a",)).empty


# --- written -------------------------------------------------------------------------------------


def test_csv_is_what_pandas_writes(table: str, frame: pd.DataFrame) -> None:
    assert written(table, "csv").decode() == frame.to_csv(index=False)


@pytest.mark.parametrize("unit", ["D", "s", "ms", "us", "ns"])
def test_times_are_written_as_pandas_writes_the_whole_column(tmp_path: Path, unit: str) -> None:
    """The finest time of all comes last, after a chunk of days."""
    fine = np.datetime64("2024-01-01T00:00:00.000000000") + np.timedelta64(1, unit)
    times = pd.DataFrame({"at": pd.to_datetime([pd.Timestamp("1960-05-05"), None, pd.Timestamp(fine)]), "n": [1, 2, 3]})
    creating.create(times, tmp_path / "t", chunk_size=1)
    assert written(str(tmp_path / "t"), "csv").decode() == times.to_csv(index=False)


def test_a_csv_read_by_pandas_makes_the_same_table(table: str, tmp_path: Path) -> None:
    """What comes back is what pandas reads: integers of which some are missing are decimals."""
    (tmp_path / "t.csv").write_bytes(written(table, "csv"))
    creating.create(tmp_path / "t.csv", tmp_path / "again", chunk_size=700)
    expected = pd.read_csv(tmp_path / "t.csv", low_memory=False)
    assert written(str(tmp_path / "again"), "csv").decode() == expected.to_csv(index=False)


def test_parquet_and_arrow_hold_the_frame(table: str, frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(written(table, "parquet"))), frame)
    pd.testing.assert_frame_equal(pa.ipc.open_stream(written(table, "arrow")).read_pandas(), frame)


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
def test_a_selection_is_written_even_without_rows(table: str, form: Form) -> None:
    some = written(table, form, column_names=("image", "label"), query="image > 100000")
    back = {
        "csv": lambda: pd.read_csv(io.BytesIO(some)),
        "parquet": lambda: pd.read_parquet(io.BytesIO(some)),
        "arrow": lambda: pa.ipc.open_stream(some).read_pandas(),
    }[form]()
    assert (list(back.columns), len(back)) == (["image", "label"], 0)


def test_parquet_is_written_into_a_pipe(table: str, frame: pd.DataFrame) -> None:
    reader, writer = os.pipe()
    got: list[bytes] = []
    with open(reader, "rb") as end:
        thread = threading.Thread(target=lambda: got.append(end.read()))
        thread.start()
        with open(writer, "wb") as file:
            exporting.write(table, "parquet", file, Selection(), CTX)
        thread.join()
    assert len(pd.read_parquet(io.BytesIO(got[0]))) == ROWS


# --- that less is read ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_table(tmp_path_factory: pytest.TempPathFactory) -> str:
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("long") / "t.tiledb"
    frame = pd.DataFrame({"n": np.arange(400_000), "a": rng.random(400_000), "b": rng.random(400_000)})
    creating.create(frame, path, chunk_size=100_000)
    return str(path)


def bytes_read(table: str, **selection: Any) -> int:
    """Return how many bytes this process reads (proc(5), rchar) for a selection."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    before = so_far()
    for _ in reading.batches(table, Selection(**selection), CTX):
        pass
    return so_far() - before


@pytest.mark.parametrize(
    ("selection", "least"),
    [
        ({"column_names": ("a",)}, 1.4),
        ({"start": 100_000, "stop": 100_100}, 10),
        ({"rows": (5, 399_999)}, 10),
        ({"query": "n < 50", "column_names": ("a",)}, 2),
    ],
)
def test_what_is_not_selected_is_not_read(long_table: str, selection: dict[str, Any], least: float) -> None:
    assert bytes_read(long_table) > least * bytes_read(long_table, **selection)


@pytest.mark.parametrize(("few", "merged"), [(5, False), (4, True)])
def test_tiles_are_merged_beforehand_only_among_many_fragments(
    frame: pd.DataFrame, table: str, monkeypatch: pytest.MonkeyPatch, few: int, merged: bool
) -> None:
    """TileDB 2.30 may die of that merge; without it, memory grows with the fragments, of which the table has five."""
    monkeypatch.setattr(reading, "FEW_FRAGMENTS", few)
    gc.disable()  # with a context its statistics go
    tiledb.stats_reset()
    tiledb.stats_enable()
    try:
        assert read(table, column_names=("image",))["image"].tolist() == frame["image"].tolist()
        assert read(table, column_names=("image",), rows=(2999, 1))["image"].tolist() == [1, 2999]
        assert ("preprocess_result_tile_order" in str(tiledb.stats_dump(print_out=False))) is merged
    finally:
        tiledb.stats_disable()
        gc.enable()
