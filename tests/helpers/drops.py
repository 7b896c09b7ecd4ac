"""Dropping files into a mount, and what it then tells of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tests.helpers.mounting import Drive
from tests.helpers.people import Person


def drop(person: Person, path: Path, content: bytes | None = None) -> Path:
    """Write a file that has not been there; by default one whose bytes no other test has."""
    person.do(path.write_bytes, str(path).encode() if content is None else content)
    return path


def set_on(person: Person, directory: Path, name: str, value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    person.do(os.setxattr, directory, f"user.repofs.{name}", text.encode())


def described(drive: Drive, person: Person, what: str | None) -> Any:
    """Return what the root of the mount tells *person* of an object."""
    return json.loads(person.do(os.getxattr, drive.mountpoint, f"user.repofs.{what}"))


def status(directory: Path) -> Any:
    return json.loads(os.getxattr(directory, "user.repofs.status"))
