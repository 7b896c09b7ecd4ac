"""Mounts for tests: one a module, a directory in it for each test, and nothing left behind after any."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers import kernel_caches, mounting
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE

_numbers = itertools.count(1)


@pytest.fixture(autouse=True, scope="package")
def _mounting_is_possible() -> None:
    mounting.require_possible()


@pytest.fixture(scope="module")
def module_drive(request: pytest.FixtureRequest) -> Iterator[Drive]:
    """One mount for all tests of a module, with its SETTINGS where it has some."""
    with mounting.mounted(getattr(request.module, "SETTINGS", mounting.QUICK)) as drive:
        yield drive


@pytest.fixture
def drive(module_drive: Drive) -> Iterator[Drive]:
    """The mount of the module; what must be so after each test is checked."""
    module_drive.allowed = []
    yield module_drive
    module_drive.check()


@pytest.fixture
def kernel_keeps() -> Iterator[None]:
    """The kernel forgets nothing during the test that it could keep: for who counts what it asks for."""
    with kernel_caches.kept():
        yield


@pytest.fixture
def own_drive() -> Iterator[Drive]:
    """A mount for one test, which may kill its daemon."""
    with mounting.mounted() as drive:
        yield drive


@pytest.fixture
def folder(drive: Drive, request: pytest.FixtureRequest) -> Path:
    """A new directory of Alice's in the mount, for one test."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", request.node.name)[:60]
    folder = drive.home(ALICE) / f"{name}-{next(_numbers)}"
    ALICE.do(os.mkdir, folder)
    return folder


@pytest.fixture
def outside(drive: Drive) -> Path:
    """A directory beside the mount, on the same disk, where everybody may write."""
    return drive.outside


@pytest.fixture
def scan(outside: Path) -> Path:
    """A TIFF of three planes."""
    path = outside / "scan.tif"
    tifffile.imwrite(path, np.arange(3 * 32 * 40, dtype=np.uint16).reshape(3, 32, 40), photometric="minisblack")
    return path


_REPORTED: list[str] = []


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say a sentence in the summary at the end of the run, whether the test passes or not."""

    def say(sentence: str) -> None:
        record_property("report", sentence)
        _REPORTED.append(sentence)

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in _REPORTED:
        terminalreporter.write_line(sentence)


def pytest_sessionfinish(session: pytest.Session) -> None:
    left = mounting.left_behind()
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nleft behind by the tests: " + ", ".join(left))
