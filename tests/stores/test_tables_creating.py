"""Tables are made of every source as pandas would read it, whole or not at all."""

from __future__ import annotations

import datetime
import decimal
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pytest
import tiledb

from repofs.errors import AlreadyExists, InvalidValue, NotFound
from repofs.table import Column, Secret, Selection
from repofs.tables import array, creating, reading

CTX = array.context(512 << 20)


def made(source: Any, path: Path, **options: Any) -> pd.DataFrame:
    """Make an array of *source*, and return what is read from it; which is what TileDB's own reader finds."""
    creating.create(source, path, **options)
    parts = [reading.frame(batch) for batch in reading.batches(str(path), Selection(), CTX)]
    empty = reading.arrow_schema(str(path), Selection(), CTX).empty_table().to_pandas()
    ours = pd.concat(parts, ignore_index=True) if parts else empty
    if parts:
        pd.testing.assert_frame_equal(ours, tiledb.open_dataframe(str(path)))
    return ours


# --- data frames ---------------------------------------------------------------------------------

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NULLABLE = ["Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"]
SAME = [
    *(pd.Series([1, 2, 3], dtype=name) for name in INTEGERS),
    *(pd.Series([1.5, None, np.inf], dtype=name) for name in ("float32", "float64")),
    *(pd.Series([1, None, 3], dtype=name) for name in NULLABLE),
    *(pd.Series([1, 2, 3], dtype=name) for name in ("Int64", "Float32", "string")),
    *(pd.Series([1.5, None, 3], dtype=name) for name in ("Float32", "Float64")),
    *(
        pd.Series(pd.to_datetime(["2020-01-01", None, "1930-01-01"])).dt.as_unit(unit)
        for unit in ("s", "ms", "us", "ns")
    ),
    pd.Series([True, False, True]),
    pd.Series([True, None, False], dtype="boolean"),
    pd.Series(["a", None, ""], dtype="string"),
    pd.Series(["é", "日本", ""]),
    pd.Series(["é", None, ""]),
    pd.Series([None, None, None], dtype=object),
    pd.Series(["a\0", "\0", ""]),
]
OTHER = [
    (pd.Series(["a", None, ""], dtype="string[pyarrow]"), "string"),
    (pd.Series(["a", None, ""], dtype=pd.ArrowDtype(pa.string())), "string"),
    (pd.Series([1, None, 2], dtype="int64[pyarrow]"), "Int64"),
    (pd.Series([1, None, 2], dtype="double[pyarrow]"), "Float64"),
    (pd.Series([True, None, False], dtype=pd.ArrowDtype(pa.bool_())), "boolean"),
    (pd.Series(pd.to_datetime(["2020-01-01", None, None])).astype("timestamp[us][pyarrow]"), "datetime64[us]"),
    (pd.Series(["a", None, "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))), "string"),
    (pd.Series([True, None, False], dtype=object), "boolean"),
    (pd.Series(["a", None, "a"], dtype="category"), "object"),
    (pd.Series([2, 1, 2], dtype="category"), "int64"),
    (pd.Series([2, None, 2], dtype="category").cat.rename_categories([7]), "Int64"),
    (pd.Series([1.5, None, 2], dtype="category"), "float64"),
]


@pytest.mark.parametrize("column", SAME, ids=lambda column: f"{column.dtype}-{column.iloc[1]}")
def test_a_column_comes_back_as_it_was(tmp_path: Path, column: pd.Series) -> None:
    frame = pd.DataFrame({"c": column})
    pd.testing.assert_frame_equal(made(frame, tmp_path / "t", chunk_size=2), frame)


@pytest.mark.parametrize(("column", "dtype"), OTHER, ids=lambda one: str(getattr(one, "dtype", one)))
def test_a_column_that_is_only_wrapped_comes_back_as_what_it_is(tmp_path: Path, column: pd.Series, dtype: str) -> None:
    back = made(pd.DataFrame({"c": column}), tmp_path / "t", chunk_size=2)["c"]
    assert back.dtype == dtype
    assert [None if one is pd.NA or one != one else one for one in back] == [
        None if one is None or one is pd.NA or one is pd.NaT or one != one else one for one in column
    ]


REFUSED = [
    (pd.Series([1, 2], dtype="complex64"), "its real and its imaginary part"),
    (pd.Series([1, 2], dtype="float16"), "astype\\('float32'\\)"),
    (pd.Series([1, 2], dtype=np.longdouble), "astype\\('float32'\\)"),
    (pd.Series(pd.to_timedelta([1, 2], unit="s")), "total_seconds"),
    (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), "tz_localize\\(None\\)"),
    (pd.Series(pd.period_range("2020", periods=2, freq="Y")), "to_timestamp"),
    (pd.Series(pd.interval_range(0, 2)), "two columns"),
    (pd.Series(pd.arrays.SparseArray([1, 0])), "to_dense"),
    (pd.Series([1, "a"], dtype=object), "astype\\(str\\)"),
    (pd.Series([[1], [2]]), "astype\\(str\\)"),
    (pd.Series([1, None], dtype=object), "to_numeric"),
    (pd.Series([decimal.Decimal(1)] * 2), "to_numeric"),
    (pd.Series([datetime.date(2020, 1, 1)] * 2), "to_datetime"),
    (pd.Series([[1], [2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), "astype\\(str\\)"),
    (pd.Series(["\ud800", "a"]), "Unicode"),
    (pd.Series([b"a", b"b"]), "decode"),
]


@pytest.mark.parametrize(("column", "instead"), REFUSED, ids=lambda one: str(getattr(one, "dtype", "")))
def test_a_column_that_cannot_be_stored_is_refused_with_what_to_do(
    tmp_path: Path, column: pd.Series, instead: str
) -> None:
    with pytest.raises(InvalidValue, match=instead):
        creating.create(pd.DataFrame({"good": [1, 2], "c": column}), tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "'a' is there twice"),
        (pd.DataFrame([[1, 2]], columns=["1", 1]), "'1' is there twice"),
        (pd.DataFrame({"__tiledb_rows": [1]}), "does not start with __"),
        (pd.DataFrame({"": [1]}), "cannot be a column"),
        (pd.DataFrame({"\ud800": [1]}), "cannot be a column"),
        (pd.DataFrame(), "has no columns"),
        (pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "several levels"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([5], name="key")), "reset_index"),
        (pd.DataFrame(np.zeros((1, 10_001))), "10000 are allowed"),
    ],
)
def test_a_frame_whose_names_cannot_be_is_refused(tmp_path: Path, frame: pd.DataFrame, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        creating.create(frame, tmp_path / "t")


def test_names_may_be_of_any_language_dotted_and_with_spaces(tmp_path: Path) -> None:
    frame = pd.DataFrame({"größe": [1], "a.b": [2], "with space": [3], "'\"`": [4], "日本": [5], "1": [6]})
    pd.testing.assert_frame_equal(made(frame, tmp_path / "größe 1.0.tiledb"), frame)


def test_a_long_text_costs_its_own_length(tmp_path: Path) -> None:
    """Were all made as wide, these would need 400 GB."""
    frame = pd.DataFrame({"text": ["x" * 1_000_000, None, *["y"] * 99_998]})
    pd.testing.assert_frame_equal(made(frame, tmp_path / "t", chunk_size=100_000), frame)


def test_a_frame_without_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.zeros(0, dtype="int32"), "b": np.zeros(0, dtype=object)})
    pd.testing.assert_frame_equal(made(frame, tmp_path / "t"), frame, check_index_type=False)
    assert array.examine(str(tmp_path / "t"), CTX).rows == 0


def test_columns_of_objects_are_known_by_their_names(tmp_path: Path) -> None:
    names = ["Image", "dataset", "WELL", "field", "WellSample", "plate", "roi", "shape"]
    frame = pd.DataFrame({**{name: [1] for name in names}, "image": [1.5], "Roi": ["a"]})
    creating.create(frame, tmp_path / "t")
    types = [column.type for column in array.examine(str(tmp_path / "t"), CTX).columns]
    assert types == ["Image", "Dataset", "Well", "Image", "Image", "Plate", "Roi", "Long", "Double", "String"]
    assert array.examine(str(tmp_path / "t"), CTX).columns[0] == Column("Image", "Image", "int64")


# --- CSV -----------------------------------------------------------------------------------------


def as_pandas_reads(path: Path) -> pd.DataFrame:
    """With the two differences: some missing among True and False, or among integers beyond int64."""
    frame = pd.read_csv(path, low_memory=False)
    for name, column in frame.items():
        if pd.api.types.infer_dtype(column, skipna=True) == "boolean" and column.dtype == object:
            frame[name] = column.astype("boolean")
        elif column.dtype == object:
            frame[name] = column.replace("", np.nan)
    return frame


def check_csv(text: str, directory: Path, chunk_size: int | None, name: str = "t.csv") -> None:
    (directory / name).write_text(text)
    target = directory / f"t{random.random()}"
    got = made(directory / name, target, chunk_size=chunk_size)
    got = got.where(got.notna(), np.nan).astype(got.dtypes)
    pd.testing.assert_frame_equal(got, as_pandas_reads(directory / name), check_index_type=False)


WIDENINGS = {
    "integer to missing": ["1", "2", ""],
    "integer to decimal": ["1", "2", "2.5"],
    "integer beyond 2**53 to decimal": ["9007199254740993", "123456789012345678", "0.5"],
    "integer to text": ["01", "2", "x"],
    "integer to unsigned": ["1", "9223372036854775808"],
    "unsigned and negative": ["-1", "9223372036854775808"],
    "integer beyond 64 bits": ["1", "18446744073709551616"],
    "decimal to integer": ["1.5", "2", "3"],
    "decimal to large integer": ["1.5", "9007199254740993", "123456789012345678"],
    "decimal to text": ["1.50", "2", "x"],
    "exponents": ["1e3", "2", "3"],
    "Boolean to missing": ["True", "False", ""],
    "Boolean to text": ["True", "x", "false"],
    "Boolean to integer": ["True", "False", "1"],
    "missing Boolean to integer": ["", "True", "1"],
    "missing to integer": ["", "", "1"],
    "missing to text": ["", "", "x"],
    "missing to Boolean": ["", "", "True"],
    "only missing": ["", "NA", "nan"],
    "text to integer": ["x", "01", "2"],
    "text and missing": ["x", "NA", "y"],
    "text and Boolean": ["x", "True", "False"],
    "spaces": [" 1", "2 ", " x "],
    "quoted": ['"a,b"', '"a\nb"', '"say ""x"""'],
}


@pytest.mark.parametrize("chunk_size", [1, 2, 100])
@pytest.mark.parametrize("values", WIDENINGS.values(), ids=WIDENINGS)
def test_types_are_those_of_the_whole_file(tmp_path: Path, values: list[str], chunk_size: int) -> None:
    check_csv("a,n\n" + "".join(f"{value},1\n" for value in values), tmp_path, chunk_size)


def test_types_are_those_of_the_whole_file_whatever_follows_what(tmp_path: Path) -> None:
    chosen = random.Random(5)
    for _ in range(60):
        columns = [[value for kind in chosen.sample(list(WIDENINGS), 2) for value in WIDENINGS[kind]] for _ in range(3)]
        rows = [",".join([*(chosen.choice(column) for column in columns), "0"]) for _ in range(chosen.randint(1, 9))]
        check_csv("a,b c,é.x,n\n" + "\n".join(rows) + "\n", tmp_path, chosen.choice([1, 2, 3, None]))


def test_a_file_is_begun_again_once_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    write = creating._write
    monkeypatch.setattr(creating, "_write", lambda *arguments: (begun.append(arguments[1]), write(*arguments)))
    rows = [("1", "1", "True", "1"), ("2.5", "1", "True", "1"), ("3", "x", "True", "1"), ("3", "x", "", "1")]
    check_csv("a,b,c,d\n" + "".join(",".join(row) + "\n" for row in rows), tmp_path, 1)
    assert len(begun) == 2
    check_csv("a,b,c,d\n" + ",".join(rows[0]) + "\n", tmp_path, 1)
    assert len(begun) == 3


@pytest.mark.parametrize("name", ["t.tsv", "t.TAB", "t.txt"])
def test_tabs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('a b\tc,d\n1\t"x\ty"\n')
    back = made(tmp_path / name, tmp_path / "t")
    assert back.to_dict("list") == {"a b": [1], "c,d": ["x\ty"]}


def test_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,x\n"))
    (tmp_path / "t.TSV.gz").write_bytes(gzip.compress(b"a\tb\n1\tx\n"))
    for number, name in enumerate(("t.csv.gz", "t.TSV.gz")):
        assert made(tmp_path / name, tmp_path / str(number)).to_dict("list") == {"a": [1], "b": ["x"]}


def test_a_byte_order_mark_is_no_part_of_a_name_and_a_name_that_lacks_is_pandas_own(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf,a\r\n0,x\r\n\r\n1,y\r\n")
    frame = made(tmp_path / "t.csv", tmp_path / "t")
    pd.testing.assert_frame_equal(frame, pd.read_csv(tmp_path / "t.csv"))
    assert list(frame.columns) == ["Unnamed: 0", "a"]


def test_lines_without_anything_are_no_rows(tmp_path: Path) -> None:
    check_csv('\n  \n"a\nx",b\n\n1,2\n\n3,\n', tmp_path, 1)


def test_a_file_of_only_names(tmp_path: Path) -> None:
    check_csv("a,b\n", tmp_path, None)


DAMAGED: dict[str, tuple[str, bytes, str]] = {
    "empty": ("t.csv", b"", "is empty"),
    "blank": ("t.csv", b"\n\n", "is empty"),
    "a name twice": ("t.csv", b"a,b,a\n1,2,3\n", "'a' is there twice"),
    "reserved": ("t.csv", b"a,__tiledb_rows\n1,2\n", "does not start with __"),
    "more fields in all rows": ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "more fields"),
    "more fields in a row": ("t.csv", b"a,b\n1,2\n4,5,6\n", "more fields"),
    "more fields in the first row": ("t.csv", b"a,b\n1,2,3\n4,5\n", "more fields"),
    "many more fields": ("t.csv", b"a,b\n1,2\n3,4,5,6,7,8\n", "more fields"),
    "open quote": ("t.csv", b'a,b\n1,"2\n', "cannot be read"),
    "Latin 1": ("t.csv", "a\nx\né\n".encode("latin-1"), "is not UTF-8"),
    "Latin 1 names": ("t.csv", "é\nx\n".encode("latin-1"), "is not UTF-8"),
    "no tab": ("t.txt", b"a,b\n1,2\n", "no tab in its first line"),
    "no gzip": ("t.csv.gz", b"a,b\n1,2\n", "cannot be read"),
    "truncated gzip": (
        "t.csv.gz",
        gzip.compress(random.Random(0).randbytes(9999).hex().encode())[:2000],
        "cannot be read",
    ),
    "no Parquet": ("t.parquet", b"PAR1 no", "cannot be read"),
    "empty Parquet": ("t.parquet", b"", "cannot be read"),
    "no Arrow": ("t.arrow", b"ARROW1 no", "cannot be read"),
    "no stream": ("t.feather", b"x" * 100, "cannot be read"),
    "Excel": ("t.xlsx", b"x", "tables are made of"),
}


@pytest.mark.parametrize(("name", "content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_file_that_is_damaged_leaves_nothing(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidValue, match=reason):
        creating.create(tmp_path / name, tmp_path / "t", chunk_size=1)
    assert [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.arrow"])
def test_a_file_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match="no such file"):
        creating.create(tmp_path / name, tmp_path / "t")


# --- Parquet and Arrow ---------------------------------------------------------------------------


def _stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], object]] = {
    "t.parquet": lambda table, path: pa.parquet.write_table(table, path),
    "t.feather": lambda table, path: pyarrow.feather.write_feather(table, path),
    "t.arrows": _stream,
}


@pytest.mark.parametrize("name", WRITERS)
def test_parquet_and_arrow_files(tmp_path: Path, name: str) -> None:
    columns = [column for column in SAME if name != "t.parquet" or column.dtype != "datetime64[s]"]  # it has none
    frame = pd.DataFrame({f"c{number}": column for number, column in enumerate(columns)})
    WRITERS[name](pa.Table.from_pandas(frame.set_axis([5, 6, 9])), tmp_path / name)
    pd.testing.assert_frame_equal(made(tmp_path / name, tmp_path / "t", chunk_size=2), frame)


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_missing_late_makes_a_column_nullable(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {"i": pa.array([1, 2**60 + 1, None]), "b": pa.array([True, False, None]), "f": pa.array([1.5, None, 2]),
         "d": pa.array(["x", None, "x"]).dictionary_encode(), "n": pa.nulls(3), "whole": pa.array([1, 2, 3])}
    )  # fmt: skip
    WRITERS[name](table, tmp_path / name)
    back = made(tmp_path / name, tmp_path / "t", chunk_size=1)
    assert back.dtypes.astype(str).tolist() == ["Int64", "boolean", "float64", "object", "object", "int64"]
    assert back["i"].tolist()[:2] == [1, 2**60 + 1] and back["i"].isna().tolist() == [False, False, True]
    assert back["d"].tolist() == ["x", None, "x"]


@pytest.mark.parametrize(
    ("column", "instead"),
    [
        (pa.array([[1]]), "text"),
        (pa.array([{"a": 1}]), "text"),
        (pa.array([b"a"]), "text"),
        (pa.array([decimal.Decimal("1.5")]), "float64"),
        (pa.array([datetime.date(2020, 1, 1)]), "timestamps"),
        (pa.array([datetime.timedelta(1)]), "seconds"),
        (pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)]), "time zone"),
    ],
    ids=lambda one: str(getattr(one, "type", "")),
)
def test_types_of_arrow_that_cannot_be_stored_are_refused(tmp_path: Path, column: pa.Array, instead: str) -> None:
    pa.parquet.write_table(pa.table({"c": column}), tmp_path / "t.parquet")
    with pytest.raises(InvalidValue, match=instead):
        creating.create(tmp_path / "t.parquet", tmp_path / "t")


# --- whole or not at all -------------------------------------------------------------------------


def test_what_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "file").write_bytes(b"x")
    creating.create(pd.DataFrame({"a": [1]}), tmp_path / "t")
    for name in ("t", "file", "link"):
        with pytest.raises(AlreadyExists):
            creating.create(pd.DataFrame({"a": [2]}), tmp_path / name)
    assert made(pd.DataFrame({"a": [3]}), tmp_path / "u")["a"].tolist() == [3]


def test_what_has_come_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    def come(done: int, of: int | None) -> None:
        (tmp_path / "t").mkdir(exist_ok=True)
        (tmp_path / "t/theirs").write_bytes(b"x")

    with pytest.raises(AlreadyExists):
        creating.create(pd.DataFrame({"a": [1]}), tmp_path / "t", progress=come)
    assert [one.name for one in tmp_path.iterdir()] == ["t"]
    assert (tmp_path / "t/theirs").read_bytes() == b"x"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make it first"):
        creating.create(pd.DataFrame({"a": [1]}), tmp_path / "none/t")


def test_an_interrupted_array_leaves_nothing(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def interrupt(done: int, of: int | None) -> None:
        seen.append([one.name for one in tmp_path.iterdir()])
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        creating.create(pd.DataFrame({"a": range(10)}), tmp_path / "cells.tiledb", chunk_size=2, progress=interrupt)
    assert all(name.startswith(".cells.tiledb.") for names in seen for name in names) and len(seen) == 2
    assert list(tmp_path.iterdir()) == []


def test_an_array_has_its_token_only_when_it_is_whole(tmp_path: Path) -> None:
    def look(done: int, of: int | None) -> None:
        [hidden] = tmp_path.iterdir()
        with tiledb.open(str(hidden)) as unfinished:
            assert "SecretToken" not in unfinished.meta

    token = creating.create(pd.DataFrame({"a": range(4)}), tmp_path / "t", chunk_size=2, progress=look)
    found = array.examine(str(tmp_path / "t"), CTX).token
    assert found is not None and found.reveal() == token.reveal() and len(token.reveal()) >= 43


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    frame = pd.DataFrame({"a": range(5)})
    creating.create(frame, tmp_path / "t", chunk_size=2, progress=lambda *done: told.append(done))
    frame.to_csv(tmp_path / "t.csv", index=False)
    creating.create(tmp_path / "t.csv", tmp_path / "u", chunk_size=3, progress=lambda *done: told.append(done))
    assert told == [(2, 5), (4, 5), (5, 5), (3, None), (5, None)]


def test_a_token_may_be_given(tmp_path: Path) -> None:
    assert creating.create(pd.DataFrame({"a": [1]}), tmp_path / "t", token=Secret(b"mine")).reveal() == b"mine"


def test_chunks_have_at_least_a_row(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="chunk_size=0"):
        creating.create(pd.DataFrame({"a": [1]}), tmp_path / "t", chunk_size=0)
