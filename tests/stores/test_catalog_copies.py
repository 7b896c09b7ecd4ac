"""A copy of the catalogue is whole and of one moment, whoever writes meanwhile, and takes nobody's place."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from repofs.catalog import engine
from repofs.errors import AlreadyExists, NotARepository
from tests.helpers.importing import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


def test_a_copy_is_consistent_while_others_write(repository: Repository, tmp_path: Path) -> None:
    with repository.engine.begin() as conn:
        conn.exec_driver_sql("CREATE TABLE filler (a, b)")
        conn.exec_driver_sql("INSERT INTO filler VALUES (0, zeroblob(40000000))")
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            with repository.engine.begin() as conn:
                conn.exec_driver_sql("INSERT INTO filler VALUES (1, 1)")
                conn.exec_driver_sql("INSERT INTO filler VALUES (2, 2)")
            written.append(time.monotonic())

    writer = threading.Thread(target=write)
    writer.start()
    told: list[tuple[int, int]] = []
    try:
        engine.back_up(repository.layout.catalogue, tmp_path / "copy", lambda *at: told.append(at))
    finally:
        stop.set()
        writer.join()
    assert len(written) > 1 and len(told) > 1
    with closing(sqlite3.connect(tmp_path / "copy")) as connection:
        ones, twos = (connection.execute("SELECT count(*) FROM filler WHERE a = ?", (n,)).fetchone()[0] for n in (1, 2))
    assert ones == twos


def test_a_copy_is_never_put_over_another_and_never_damaged(repository: Repository, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text("mine")
    with pytest.raises(AlreadyExists):
        engine.back_up(repository.layout.catalogue, copy, lambda *_: None)
    assert copy.read_text() == "mine"
    repository.engine.dispose()
    with repository.layout.catalogue.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(4096))
    with pytest.raises(NotARepository, match="cannot be copied"):
        engine.back_up(repository.layout.catalogue, tmp_path / "damaged", lambda *_: None)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["copy"]
