"""A repository to be measured, made and mounted for as long as it takes."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from repofs.repository.layout import Layout

SETTLE_SECONDS = 0.1  # as short as the settings allow, so that the work is measured and not the wait


def repofs(*arguments: str) -> None:
    """Run a command of ours. Raises RuntimeError with what it has said when it fails."""
    done = subprocess.run([sys.executable, "-m", "repofs", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"repofs {' '.join(arguments)} ended with {done.returncode}: {done.stdout}{done.stderr}")


class Repository:
    """One below *top*, of the caller's own; its mount is `mounted`."""

    def __init__(self, top: Path, settings: str = "", settle_seconds: float = SETTLE_SECONDS) -> None:
        directory, self.mountpoint = top / "repository", top / "mount"
        self.mountpoint.mkdir()
        repofs("init", str(directory))
        self.layout = Layout.open(directory)
        self.layout.settings.write_text(f"[drops]\nsettle_seconds = {settle_seconds}\n{settings}")
        user = pwd.getpwuid(os.getuid()).pw_name
        repofs("-C", str(directory), "user", "add", user)
        self.user_directory = next(self.layout.managed.glob(f"{user}_*")).name

    @contextlib.contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount it; yield the caller's user directory in the mount."""
        repofs("mount", str(self.layout.root), str(self.mountpoint))
        try:
            yield self.mountpoint / self.user_directory
        finally:
            repofs("umount", str(self.mountpoint))

    @property
    def daemon(self) -> int:
        """The process that answers the kernel, as the lock names it."""
        return int(self.layout.lock.read_text().split()[0])


@contextlib.contextmanager
def repository(top: Path, settings: str = "") -> Iterator[Path]:
    """Make and mount a repository below *top*, with more *settings*; yield the caller's user directory in it."""
    with Repository(top, settings).mounted() as home:
        yield home
