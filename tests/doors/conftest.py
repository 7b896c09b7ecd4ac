from __future__ import annotations

from pathlib import Path

import pytest

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
