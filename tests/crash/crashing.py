"""A drive whose daemon dies and comes back, and what must hold whenever it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from repofs.fault_points import VARIABLE
from tests.crash.ledger import IMPORTED, History, Ledger, Place
from tests.crash.plan import Death
from tests.helpers import processes
from tests.helpers.mounting import REPOFS, Drive, fact, tell
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

SETTINGS = """
[drops]
settle_seconds = 0.1
directory_settle_seconds = 0.2
[readers]
workers = 1
[verify]
every_days = 1e-5
[[sources]]
name = "scope1"
path = "@outside@"
"""

EXPECTED = (
    "imports were interrupted and will be tried again",
    "ended by SIGKILL",
    "Dataset:999999",
)
PASSING_SECONDS = 60.0
RELEASE_SECONDS = 1.0  # in which the daemon has heard of every close, while it answers others


class Crashing:
    """Kills the daemon of *drive* and brings it back."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        drive.allowed = list(EXPECTED)

    def start(self, death: Death) -> None:
        """Start a daemon that is to die of *death*; returns also when it has died already."""
        try:
            self.drive.start(self._command(death))
        except AssertionError:
            if death.step is None or "ended by SIGKILL" not in self.drive.log.read_text().splitlines()[-1]:
                raise

    def die_at_start(self, death: Death) -> None:
        """Start a daemon that dies of *death* on its way, or soon after."""
        if death.step is not None:
            self.start(death)
            self.wait_dead(death)
            return
        command: list[str | Path] = [*REPOFS, "mount", "--foreground", self.drive.repository, self.drive.mountpoint]
        with self.drive.log.open("ab") as log:
            launcher = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        time.sleep(death.seconds)
        family = processes.descendants(launcher.pid)
        for pid in (*family, launcher.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        launcher.wait()
        until(lambda: not any(map(processes.alive, family)), f"the end of {family}")

    def _command(self, death: Death) -> Sequence[str]:
        return REPOFS if death.step is None else ("env", f"{VARIABLE}={death.step}:{death.nth}", *REPOFS)

    def wait_dead(self, death: Death) -> None:
        """Wait until the daemon has died of *death*, killing it at its moment."""
        if death.step is None:
            time.sleep(death.seconds)
            os.kill(self.drive.pid, signal.SIGKILL)
        if self.drive.daemon is not None:
            children = processes.descendants(self.drive.daemon.pid)
            try:
                code = self.drive.daemon.wait(PASSING_SECONDS)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{death.step} was not passed {death.nth} times: nobody has died") from None
            assert code == 128 + signal.SIGKILL, f"the daemon ended with {code}"
            self.drive.daemon = None
            until(lambda: not any(map(processes.alive, children)), f"the end of {children}")


class Examiner:
    """Compares a repository with what its ledger says."""

    def __init__(self, drive: Drive, ledger: Ledger) -> None:
        self._drive = drive
        self._ledger = ledger
        self.checked = 0  # a file at a time
        self.closed = 0
        self.incomplete = 0
        self.deleted = 0  # those that were found in the trash, or nowhere, a file at a time
        self._known: dict[str, object] = {}  # checksum -> original, as it was seen

    def settle(self, folder: Path) -> None:
        """Wait until every file below *folder* that was acknowledged has come to its end."""
        histories = self._ledger.histories()
        last_ns = max((history.notes[-1].when_ns for history in histories.values()), default=0)
        for path, history in histories.items():
            if path.is_relative_to(folder) and history.acknowledged is not None and not _is_away(path, history):
                self._settle(path, history, last_ns)

    def _settle(self, path: Path, history: History, last_ns: int) -> None:
        wanted = "failed" if path.parent.name == "failing" else "imported"

        def there() -> bool:
            state = fact(path, "state")
            if state == "incomplete":
                self._allow_incomplete(path, history, last_ns)
            return state == wanted

        until(there, lambda: f"{path} {wanted}: it is {fact(path, 'state')}, {fact(path, 'error')}", 120)

    def _allow_incomplete(self, path: Path, history: History, last_ns: int) -> None:
        """A file that was open, or whose close was on its way to the daemon, is imported by its owner's word."""
        before_seconds = (last_ns - history.notes[-1].when_ns) / 1e9  # the last that the daemon lived to acknowledge
        late = not history.is_closed or before_seconds < RELEASE_SECONDS or path.parent.name == "cancelled"
        assert late, f"{path} was closed {before_seconds:.3f} s before the end and is incomplete: {fact(path, 'error')}"
        self.incomplete += 1
        ALICE.do(tell, path, "now")

    def check(self, folder: Path) -> None:
        """Nothing acknowledged is lost, nothing is half there, nothing is there twice."""
        originals = self._drive.originals()
        histories = self._ledger.histories()
        self.closed = sum(history.closed for history in histories.values())
        self._check_originals(originals, histories)
        for path, history in histories.items():
            if path.is_relative_to(folder) and history.acknowledged is not None:
                if _is_away(path, history):
                    self._check_away(path, history)
                else:
                    self._check_bytes(path, history)

    def _check_originals(self, originals: list[dict[str, object]], histories: dict[Path, History]) -> None:
        found = {str(one["checksum"]): one for one in originals}
        twice = [one for one, count in Counter(str(one["checksum"]) for one in originals).items() if count > 1]
        assert not twice, f"imported twice: {[found[one]['path'] for one in twice]}"
        whole = {note.version.checksum() for history in histories.values() for note in history.notes}
        half = [one["path"] for checksum, one in found.items() if checksum not in whole]
        assert not half, f"these bytes are no file that anybody has closed: {half}"
        away = {
            note.version.checksum() for one in histories.values() if one.places != {Place.TREE} for note in one.notes
        }
        lost = [
            one
            for checksum, one in self._known.items()
            if found.get(checksum) != one and (checksum in found or checksum not in away)
        ]
        assert not lost, f"these were imported, and are not or are others now: {lost}"
        seen = [n.version for history in histories.values() for n in history.notes if n.what == IMPORTED]
        assert all(version.checksum() in found for version in seen), "what was said to be imported is not catalogued"
        self._known |= found  # what comes back from the trash is what it was

    def _check_bytes(self, path: Path, history: History) -> None:
        possible = [version.content() for version in history.possible()]
        assert path.read_bytes() in possible, f"{path} has other bytes than were acknowledged"
        self.checked += 1

    def _check_away(self, path: Path, history: History) -> None:
        """What was deleted is in the trash, once, or was removed for good."""
        wanted = [version.content() for version in history.possible()]
        there = [file for file in self._drive.layout.trash.glob("*/files/**/*") if file.read_bytes() in wanted]
        assert len(there) == 1 or (not there and Place.NOWHERE in history.places), f"{path} is in the trash as {there}"
        assert Place.TREE not in history.places or not path.exists()
        self.deleted += 1


def _is_away(path: Path, history: History) -> bool:
    """Whether a file is not in the mount, as it may be."""
    return history.places != {Place.TREE} and not path.exists()
