"""A repository to be measured, made and mounted for as long as it takes."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SETTLE_SECONDS = 0.1  # as short as the settings allow, so that the work is measured and not the wait


def repofs(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "repofs", *arguments], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def repository(top: Path, settings: str = "") -> Iterator[Path]:
    """Make and mount a repository below *top*, with more *settings*; yield the caller's user directory in it."""
    directory, mountpoint = top / "repository", top / "mount"
    mountpoint.mkdir()
    repofs("init", str(directory))
    (directory / "settings.toml").write_text(f"[drops]\nsettle_seconds = {SETTLE_SECONDS}\n{settings}")
    user = pwd.getpwuid(os.getuid()).pw_name
    repofs("-C", str(directory), "user", "add", user)
    repofs("mount", str(directory), str(mountpoint))
    try:
        yield next(mountpoint.glob(f"{user}_*"))
    finally:
        repofs("umount", str(mountpoint))
