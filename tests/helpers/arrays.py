"""Arrays for tests, as omero2pandas makes them; in a process of its own, because TileDB's threads do not bear a fork.

python -m tests.helpers.arrays PATH ROWS [TOKEN]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROWS = 5


def make(path: Path, token: str | None, rows: int = ROWS) -> None:
    """Make an array of *rows* rows with the columns image, area and name at *path*."""
    arguments = [str(path), str(rows), *([] if token is None else [token])]
    subprocess.run([sys.executable, "-m", "tests.helpers.arrays", *arguments], check=True)


def files_of(array: Path) -> list[Path]:
    """Return the files of an array."""
    return sorted(path for path in array.rglob("*") if path.is_file())


def give(array: Path, uid: int, gid: int | None = None, *, mode: int = 0o700) -> None:
    """Give the array and all in it to *uid*, with *mode*, of files without the right to execute."""
    for path in (array, *array.rglob("*")):
        os.chown(path, uid, uid if gid is None else gid)
        path.chmod(mode if path.is_dir() else mode & 0o666)


def make_here(path: str, rows: int, token: str | None) -> None:
    """Make the same in this process, which is to end soon."""
    import numpy as np
    import pandas as pd
    import tiledb

    frame = pd.DataFrame({"image": np.arange(rows), "area": np.arange(rows) / 2, "name": ["é"] * rows})
    tiledb.from_pandas(
        path, frame, sparse=True, full_domain=True, tile=10000, attr_filters=None, row_start_idx=0,
        allows_duplicates=False,
    )  # fmt: skip
    with tiledb.open(path, "w") as array:
        array.meta["__version"], array.meta["__initialized"] = "3", 1.0
        if token is not None:
            array.meta["SecretToken"] = token


if __name__ == "__main__":
    make_here(sys.argv[1], int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
