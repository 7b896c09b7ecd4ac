"""Fault points: nothing without the environment, the Nth passing with it, and a sentence for what is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from repofs import fault_points
from repofs.errors import InvalidValue
from repofs.fault_points import VARIABLE, Step
from tests.helpers import processes
from tests.helpers.waiting import until

CHECKOUT = Path(__file__).parents[2]

PASSING = """
from repofs import fault_points
from repofs.fault_points import Step, passed
fault_points.arm(with_parent=False)
for number in range(1, 4):
    passed(Step.SYNCED)
    passed(Step.PUBLISHED)
    print(number, flush=True)
"""

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
print("child", child.pid, flush=True)
time.sleep(60)
"""

CHILD = """
from repofs import fault_points
from repofs.fault_points import Step, passed
fault_points.arm(with_parent=True)
passed(Step.SYNCED)
"""


def run(program: str, said: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if said is not None:
        environment[VARIABLE] = said
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=CHECKOUT, timeout=30)


@pytest.mark.parametrize(
    ("said", "lines", "code"),
    [
        (None, "1\n2\n3\n", 0),
        ("import.synced", "", -signal.SIGKILL),
        ("import.published:3", "1\n2\n", -signal.SIGKILL),
        ("import.published:4", "1\n2\n3\n", 0),
        ("import.begun", "1\n2\n3\n", 0),
    ],
)
def test_a_process_dies_when_it_passes_its_step_for_the_nth_time(said: str | None, lines: str, code: int) -> None:
    done = run(PASSING, said)
    assert (done.stdout, done.returncode) == (lines, code), done.stderr


def test_who_has_started_the_process_dies_with_it() -> None:
    done = run(FAMILY, "import.synced", CHILD)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = int(done.stdout.split()[1])
    until(lambda: not processes.alive(child), "the end of the child")


@pytest.mark.parametrize("said", ["import.sinked", "import.synced:x", "", "import.synced:0", "import.synced:-1"])
def test_what_is_no_fault_point_is_refused(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(VARIABLE, said)
    with pytest.raises(InvalidValue, match=r"is no fault point: it is one of .*import\.synced"):
        fault_points.arm(with_parent=False)


def test_every_step_is_passed_somewhere() -> None:
    source = "".join(path.read_text() for path in (CHECKOUT / "repofs").rglob("*.py"))
    assert [step.name for step in Step if f"passed(Step.{step.name})" not in source] == []
