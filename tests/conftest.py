"""What holds for all tests, in whichever process they run."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long an example takes is the machine's matter: one that is busy fails no test that does not ask for it.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=30, help="how often the crash test kills the daemon, at least")
    parser.addoption("--steps", default="*", help="at which named steps it does so, trash.* for example")
    parser.addoption("--all-faults", action="store_true", help="let every call fail that could, not a sample")
    parser.addoption("--scale", type=int, default=1, help="how many times as much pressure as for every change")
    parser.addoption("--seed", type=int, help="of the tests' chance: another each time unless it is given")


@pytest.fixture(autouse=True, scope="session")
def _others_may_enter(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each process has its directories a level deeper, which nobody else may enter: some tests become somebody else."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = tmp_path_factory.getbasetemp()
        for directory in (base, base.parent, base.parent.parent):
            directory.chmod(0o711)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have to tell: ``record_property("told", …)``."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "told" and report.when == "call":
                    terminalreporter.write_line(str(value))
