"""Tables whose arrays lie in an object store: registered, listed and read through the mount like the local ones."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from repofs.registration import watch
from tests.helpers import arrays, mounting
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE, BOB
from tests.helpers.s3 import S3, s3_server
from tests.helpers.waiting import until

TOKEN = "the-token-of-an-array-in-a-store"
URI = "s3://results/tables/deep/cells.tiledb"
_OPEN = """
import sys, tiledb
with tiledb.open(sys.argv[1]) as array:
    print(array.df[:]["area"].sum())
"""


@dataclass(frozen=True)
class Lab:
    drive: Drive
    s3: S3
    target: str

    def register(self, uri: str = URI, token: str = TOKEN) -> None:
        asked = {"uri": uri, "name": "cells", "targets": [self.target], "token": token}
        ALICE.do(os.setxattr, self.drive.home(ALICE), "user.repofs.table.register", json.dumps(asked).encode())

    def refusal(self, uri: str = URI, token: str = TOKEN) -> tuple[int | None, str | None]:
        with pytest.raises(OSError) as caught:
            self.register(uri, token)
        return caught.value.errno, fact(self.drive.home(ALICE), "error")

    @property
    def shown(self) -> Path:
        return self.drive.home(ALICE) / "Tables" / "cells.tiledb"


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("array") / "cells.tiledb"
    arrays.make(path, TOKEN)
    return path


@pytest.fixture
def lab(array: Path, tmp_path: Path) -> Iterator[Lab]:
    with s3_server() as s3, mounting.scratch() as place:
        s3.upload(array, "tables/deep/cells.tiledb")
        s3.upload(array, "elsewhere/cells.tiledb")
        s3.upload(array, "tables/cells.tiledb", "others")
        settings = (
            mounting.QUICK
            + f"""
[[stores]]
name = "lab"
uri = "s3://results/tables"
endpoint = "{s3.endpoint}"
credentials_file = "{s3.credentials(tmp_path / "credentials.toml")}"
"""
        )
        with mounting.mounted(settings, place=place) as drive:
            dropped = drive.home(ALICE) / "scan.bin"
            ALICE.do(dropped.write_bytes, b"no image")
            drive.wait_imported(dropped)
            yield Lab(drive, s3, str(fact(dropped, "fileset")))


def test_an_array_in_a_store_is_a_table_like_any_other(lab: Lab, array: Path) -> None:
    lab.register()
    assert fact(lab.shown, "table.rows") == str(arrays.ROWS)
    assert fact(lab.shown, "table.state") == "registered"
    told = json.loads(BOB.do(os.getxattr, lab.drive.home(ALICE) / "scan.bin", "user.repofs.tables"))
    assert [one["uri"] for one in told] == [URI]
    there = {path.relative_to(array): path.read_bytes() for path in array.rglob("*") if path.is_file()}
    seen = {path.relative_to(lab.shown): path.read_bytes() for path in lab.shown.rglob("*") if path.is_file()}
    assert seen == there
    summed = BOB.run(sys.executable, "-c", _OPEN, lab.shown).stdout
    assert float(summed) == sum(range(arrays.ROWS)) / 2
    assert BOB.run("head", "-1", lab.shown.with_suffix(".csv")).stdout == "image,area,name\n"


def test_omero2pandas_way_of_writing_it_is_understood(lab: Lab) -> None:
    lab.register(uri=URI.replace("s3://", "s3:/"))
    assert fact(lab.shown, "table.id") is not None


def test_nothing_but_what_is_declared_is_asked_for(lab: Lab) -> None:
    for uri in ("s3://results/elsewhere/cells.tiledb", "s3://others/tables/cells.tiledb",
                "s3://results/tables/../elsewhere/cells.tiledb"):  # fmt: skip
        assert lab.refusal(uri)[0] == errno.EINVAL
    assert lab.refusal("s3://results/tables/nowhere.tiledb")[0] == errno.ENOENT
    assert lab.refusal(token="wrong")[0] == errno.EKEYREJECTED
    assert lab.shown.parent.exists() is False


def test_a_store_that_is_away_leaves_its_tables_unreachable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.register()
    lab.drive.allowed = ["an array cannot be reached", "the array of a table stands otherwise", "cannot be exported"]
    lab.s3.stop()
    until(lambda: fact(lab.shown, "table.state") == "unreachable", "it is found out", seconds=60)
    with pytest.raises(OSError) as caught:
        os.listdir(lab.shown)
    assert caught.value.errno == errno.EHOSTUNREACH
    assert lab.refusal("s3://results/tables/other.tiledb")[0] == errno.EHOSTUNREACH
    assert watch.FRESH_SECONDS < 60
