"""Arrays in the mount before anybody registers them: TileDB works there as on any disk, for who may write."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
import tiledb

from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE, BOB


def frame(first: int, rows: int) -> pd.DataFrame:
    return pd.DataFrame({"image": range(first, first + rows), "area": [0.5] * rows, "name": ["zelle"] * rows})


def make(path: Path) -> None:
    tiledb.from_pandas(str(path), frame(0, 10), sparse=False, full_domain=True)


def append(path: Path, first: int) -> None:
    tiledb.from_pandas(str(path), frame(first, 10), mode="append", row_start_idx=first)


def mend(path: Path) -> None:
    """Put what was written in one, and throw the parts away."""
    for what in ("fragments", "fragment_meta", "array_meta", "commits"):
        config = tiledb.Config({"sm.consolidation.mode": what, "sm.vacuum.mode": what})
        tiledb.consolidate(str(path), config=config)
        tiledb.vacuum(str(path), config=config)


def images(path: Path) -> list[int]:
    """Read the array with TileDB; in a child, whose threads end with it."""
    return list(tiledb.open_dataframe(str(path))["image"])


def test_it_is_made_appended_to_consolidated_vacuumed_and_read(drive: Drive, folder: Path) -> None:
    array = folder / "cells.tiledb"
    ALICE.do(make, array)
    assert ALICE.do(images, array) == list(range(10))
    for first in (10, 20):
        ALICE.do(append, array, first)
    assert len(os.listdir(array / "__fragments")) == 3
    assert ALICE.do(images, array) == list(range(30))
    ALICE.do(mend, array)
    assert len(os.listdir(array / "__fragments")) == 1
    assert ALICE.do(images, array) == list(range(30))
    assert fact(array / "__schema", "state") != "imported"
    assert drive.originals_at(array) == []


def test_metadata_is_written_and_read(drive: Drive, folder: Path) -> None:
    array = folder / "cells.tiledb"
    ALICE.do(make, array)

    def write() -> None:
        with tiledb.open(str(array), "w") as opened:
            opened.meta["SecretToken"] = "token"

    def read() -> str:
        with tiledb.open(str(array)) as opened:
            return str(opened.meta["SecretToken"])

    ALICE.do(write)
    assert ALICE.do(read) == "token"


def test_it_is_renamed_and_removed_as_a_directory_is(drive: Drive, folder: Path) -> None:
    array = folder / ".making.tiledb"
    ALICE.do(make, array)
    ALICE.do(os.rename, array, folder / "cells.tiledb")
    assert ALICE.do(images, folder / "cells.tiledb") == list(range(10))
    ALICE.do(tiledb.remove, str(folder / "cells.tiledb"))
    assert os.listdir(folder) == []


def test_who_may_only_read_does_not_write(drive: Drive, folder: Path) -> None:
    array = folder / "cells.tiledb"
    ALICE.do(make, array)
    assert BOB.do(images, array) == list(range(10))
    with pytest.raises(tiledb.TileDBError):
        BOB.do(append, array, 10)
    assert ALICE.do(images, array) == list(range(10))
