"""Mounts that die, for which the tests must be root."""

from __future__ import annotations

import pytest

from tests.helpers import mounting


@pytest.fixture(autouse=True, scope="package")
def _mounting_is_possible() -> None:
    mounting.require_possible()
