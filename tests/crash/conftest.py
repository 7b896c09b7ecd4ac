"""How often the crash test kills: 30 times, or as often as --kills says."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=30, help="how often the crash test kills the daemon")
    parser.addoption("--seed", type=int, default=None, help="what the crash test's chance comes of: another each time")
