"""How much at once. Mounts are of several users, for which the tests must be root."""

from __future__ import annotations

import pytest

from tests.helpers import mounting


@pytest.fixture(scope="session")
def scale(pytestconfig: pytest.Config) -> int:
    chosen: int = pytestconfig.getoption("--scale")
    return chosen


@pytest.fixture(autouse=True, scope="package")
def _mounting_is_possible() -> None:
    mounting.require_possible()
