"""Tables registered through the mount, by attributes, as ordinary users."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiledb

from repofs.catalog import tables as catalogue_tables
from repofs.catalog.engine import open_engine
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE, BOB, CAROL, Person

TOKEN = "the-SecretToken-of-cells"
SETTINGS = """
[drops]
settle_seconds = 0.3
[readers]
workers = 1
[[sources]]
name = "outside"
path = "@outside@"
"""


def make_array(path: Path, token: str | None = TOKEN, rows: int = 5) -> None:
    """Make an array as omero2pandas does."""
    frame = pd.DataFrame({"image": np.arange(rows), "area": np.arange(rows) / 2, "name": ["é"] * rows})
    tiledb.from_pandas(
        str(path), frame, sparse=True, full_domain=True, tile=10000, attr_filters=None, row_start_idx=0,
        allows_duplicates=False,
    )  # fmt: skip
    with tiledb.open(str(path), "w") as array:
        array.meta["__version"], array.meta["__initialized"] = "3", 1.0
        if token is not None:
            array.meta["SecretToken"] = token
