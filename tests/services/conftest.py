from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.namespace import World, world
from tests.helpers.wicked_package import install

ORDINARY = 54321  # a uid and gid that nobody has


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    """A namespace over a new repository with alice's directory."""
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def as_nobody() -> Iterator[Callable[[Callable[[World], None]], None]]:
    """Run a function of a namespace as an ordinary user, in a child: the daemon of one who mounts for herself."""

    def run(body: Callable[[World], None]) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                _become_ordinary()
                with world(directory) as made:
                    body(made)
            except BaseException:  # noqa: BLE001 - told to the parent
                os.write(writer, traceback.format_exc().encode())
            os._exit(0)
        os.close(writer)
        with open(reader, encoding="utf-8") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        assert not told, told

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        yield run


def _become_ordinary() -> None:
    if os.geteuid() == 0:
        os.setgroups([ORDINARY])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)


@pytest.fixture
def wicked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reader processes find the wicked reader as an installed third party's one."""
    install(tmp_path / "site", monkeypatch)
