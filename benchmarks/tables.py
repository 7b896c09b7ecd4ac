"""Tables: made of a file and registered, beside omero2pandas' way; a part of one read, beside all of it.

python -m benchmarks.tables [--rows N …] [--directory DIR] [--json FILE]      as root; N from 200,000

Each measurement is a process of its own, so that the peak of its memory, its libraries included, is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.mounted import repofs, repository

COLUMNS = 20  # a number of an image, one of a cell, a text, a Boolean, and measurements with three decimals
CHUNK_ROWS = 1000  # of omero2pandas, when nothing else is asked for
WRITTEN_ROWS = 100_000
READ_ROWS, READ_COLUMNS = 100_000, ["cell", "name", "m7"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a piece of work took."""

    seconds: float
    peak_mib: float  # resident memory of the process


# --- pieces of work, each in a process of its own --------------------------------------------------


def make_with_repofs(csv: str, array: str) -> None:
    from repofs.tables import creating

    creating.create(csv, array)


def make_in_small_chunks(csv: str, array: str) -> None:
    """Append 1000 rows at a time, as omero2pandas 0.4.2 does."""
    import pandas as pd
    import tiledb

    for number, chunk in enumerate(pd.read_csv(csv, chunksize=CHUNK_ROWS)):
        tiledb.from_pandas(
            array, chunk, sparse=True, full_domain=True, tile=10000, attr_filters=None, allows_duplicates=False,
            row_start_idx=number * CHUNK_ROWS, mode="append" if number else "ingest",
        )  # fmt: skip
    with tiledb.open(array, "w") as opened:
        opened.meta["__version"], opened.meta["__initialized"] = "3", time.time()
        opened.meta["SecretToken"] = "a-SecretToken-for-measuring"


def read_part(csv: str, array: str) -> None:
    from repofs import read_table

    first = _first_row(array)
    assert read_table(array, column_names=READ_COLUMNS, rows=range(first, first + READ_ROWS)).shape == (READ_ROWS, 3)


def query_part(csv: str, array: str) -> None:
    from repofs import get_table_size, read_table

    images = get_table_size(array)[0] // 1000
    found = read_table(array, column_names=READ_COLUMNS, query="image == number", variables={"number": images // 2})
    assert found.shape == (1000, 3)


def read_whole_csv(csv: str, array: str) -> None:
    import pandas as pd

    whole = pd.read_csv(csv)
    assert len(whole.loc[: READ_ROWS - 1, READ_COLUMNS]) == READ_ROWS


def read_whole_array(csv: str, array: str) -> None:
    import tiledb

    whole = tiledb.open_dataframe(array)
    assert len(whole.loc[: READ_ROWS - 1, READ_COLUMNS]) == READ_ROWS


def _first_row(array: str) -> int:
    from repofs import get_table_size

    return get_table_size(array)[0] // 2 - READ_ROWS // 2


WORK: dict[str, Callable[[str, str], None]] = {
    "create": make_with_repofs,
    "create, 1000 rows at a time": make_in_small_chunks,
    "read 100,000 rows, 3 columns": read_part,
    "query for 1000 rows, 3 columns": query_part,
    "read all of the array": read_whole_array,
    "read all of the CSV file": read_whole_csv,
}


def measured(work: str, csv: Path, array: Path) -> Measured:
    """Do *work* in a process of its own. Raises CalledProcessError."""
    command = [sys.executable, "-m", "benchmarks.tables", "--work", work, str(csv), str(array)]
    return Measured(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def _work(name: str, csv: str, array: str) -> None:
    import pandas  # noqa: F401 - all of them load it, before the clock is started
    import tiledb  # noqa: F401

    begin = time.perf_counter()
    WORK[name](csv, array)
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


# --- the measuring ---------------------------------------------------------------------------------


def write_csv(path: Path, rows: int) -> None:
    """Write *rows* of a table of COLUMNS columns, 1000 for each image."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        for at in range(0, rows, WRITTEN_ROWS):
            cell = np.arange(at, min(rows, at + WRITTEN_ROWS))
            columns: dict[str, Any] = {"image": cell // 1000, "cell": cell, "name": [f"cell {n % 997}" for n in cell]}
            columns["alive"] = random.random(len(cell)) < 0.5
            for number in range(COLUMNS - len(columns)):
                columns[f"m{number}"] = np.round(random.random(len(cell)) * 1000, 3)
            options = pa_csv.WriteOptions(include_header=at == 0, quoting_style="needed")
            pa_csv.write_csv(pa.table(columns), file, options)


def image(home: Path) -> str:
    """Import an image; return it as a target, ``Image:N``."""
    import numpy as np
    import tifffile

    path = home / "measured.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8))
    repofs("wait", str(path))
    return os.getxattr(path, "user.repofs.images").decode()


def registered(home: Path, array: Path, target: str) -> float:
    """Register *array*; return the seconds."""
    asked = {"uri": str(array), "name": array.stem, "targets": [target], "token": token_of(array)}
    begin = time.perf_counter()
    os.setxattr(home, "user.repofs.table.register", json.dumps(asked).encode())
    return time.perf_counter() - begin


def token_of(array: Path) -> str:
    from repofs import client

    return client.token_of(str(array)).reveal().decode()


def warm_up(home: Path, outside: Path, target: str) -> None:
    """Register a small table: the first one starts the processes that look into arrays."""
    csv, array = outside / "small.csv", outside / "small.tiledb"
    write_csv(csv, 10)
    measured("create", csv, array)
    registered(home, array, target)


def measure(home: Path, outside: Path, target: str, rows: int) -> Iterator[dict[str, object]]:
    """Yield a line of the report after the other."""
    csv = outside / "table.csv"
    write_csv(csv, rows)
    ours, theirs = (outside / f"{name}_{rows}.tiledb" for name in ("ours", "theirs"))
    for work, array in (("create", ours), ("create, 1000 rows at a time", theirs)):
        yield _line(work, rows, measured(work, csv, array))
        yield _line("… and register", rows, Measured(registered(home, array, target), 0.0))
    for work in list(WORK)[2:]:
        yield _line(work, rows, measured(work, csv, ours))
    csv.unlink()


def _line(work: str, rows: int, took: Measured) -> dict[str, object]:
    print(f"{rows:,} rows, {work}: {took.seconds:.3f} s, {took.peak_mib:,.0f} MiB", file=sys.stderr)
    return {"rows": rows, "work": work, "seconds": took.seconds, "peak_mib": took.peak_mib}


def show(lines: list[dict[str, object]]) -> None:
    table = Table(title=f"tables of {COLUMNS} columns")
    for heading in ("rows", "work", "seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "work" else "right")
    for line in lines:
        peak = f"{line['peak_mib']:,.0f}" if line["peak_mib"] else ""
        table.add_row(f"{line['rows']:,}", str(line["work"]), f"{line['seconds']:,.3f}", peak)
    Console().print(table)


def ratios(lines: list[dict[str, Any]]) -> list[str]:
    """Return, for each number of rows, how many times as fast ours is, in sentences."""
    told = []
    for rows in dict.fromkeys(line["rows"] for line in lines):
        of = {line["work"]: line["seconds"] for line in lines if line["rows"] == rows}
        made, part, whole = of["create"], of["read 100,000 rows, 3 columns"], of["read all of the CSV file"]
        told.append(f"{rows:,} rows: made {of['create, 1000 rows at a time'] / made:.1f} × as fast as 1000 at a time")
        told.append(f"{rows:,} rows: a part is read {whole / part:.0f} × as fast as all of the CSV file")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--directory", type=Path, help="where to work; a disk like the repository's")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        _work(*arguments.work)
        return
    with tempfile.TemporaryDirectory(prefix="repofs-bench-", dir=arguments.directory) as name:
        top, outside = Path(name), Path(name, "outside")
        outside.mkdir()
        source = f'[[sources]]\nname = "outside"\npath = "{outside}"\n'
        with repository(top, source) as home:
            target = image(home)
            warm_up(home, outside, target)
            lines = [line for rows in arguments.rows for line in measure(home, outside, target, rows)]
    show(lines)
    print("\n".join(ratios(lines)))
    if arguments.json:
        arguments.json.write_text(json.dumps(lines, indent=2) + "\n")


if __name__ == "__main__":
    main()
