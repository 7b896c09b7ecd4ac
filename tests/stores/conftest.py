"""What tests of stores share: a catalogue of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs.catalog import engine
from repofs.catalog.engine import Connection, Engine


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Engine]:
    """A new catalogue, opened for writing."""
    engine.create(tmp_path / "catalogue.sqlite")
    opened = engine.open_engine(tmp_path / "catalogue.sqlite")
    yield opened
    opened.dispose()


@pytest.fixture
def conn(catalogue: Engine) -> Iterator[Connection]:
    """A transaction in a new catalogue."""
    with catalogue.begin() as connection:
        yield connection
