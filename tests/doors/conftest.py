from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from repofs import logs
from tests.helpers.command_line import repofs


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No repository by the environment or the current directory."""
    monkeypatch.delenv("REPOFS_REPOSITORY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    assert repofs("init", directory).code == 0
    return directory


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged, as the daemon writes it."""
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        logs.configure("debug")
    yield stream
    structlog.reset_defaults()
