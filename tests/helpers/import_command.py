"""`repofs import` as somebody runs it, in a process of its own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.mounting import REPOFS, Drive
from tests.helpers.people import Person


@dataclass(frozen=True)
class Run:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def reports(self) -> list[dict[str, Any]]:
        """Of ``--output json``."""
        return list(json.loads(self.out))

    @property
    def report(self) -> dict[str, Any]:
        """Of a command that had one fileset to import."""
        [one] = self.reports
        return one


def words(drive: Drive, *options: str | Path) -> list[str]:
    return [*REPOFS, "-C", str(drive.repository), "import", *map(str, options)]


def imports(drive: Drive, person: Person, *options: str | Path) -> Run:
    """Run `repofs import` as *person*."""
    done = person.run(*words(drive, *options), check=False, timeout=110)
    return Run(done.returncode, done.stdout, done.stderr)


def told(drive: Drive, person: Person, *options: str | Path) -> dict[str, Any]:
    """Run `repofs import --output json` of one fileset, and return what it tells."""
    return imports(drive, person, "--output", "json", *options).report


def started(drive: Drive, person: Person, *options: str | Path) -> subprocess.Popen[bytes]:
    """Start `repofs import` as *person*; what it prints is in its pipes."""
    return person.start(*words(drive, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def original(drive: Drive, report: dict[str, Any], name: str) -> Path:
    """Return the path in the mount of the file *name* of what a report says was imported."""
    assert report["state"] == "imported", report
    return drive.mountpoint / str(report["import_directory"]) / name
