"""The directories that are compared: the bare one, and the same files through repofs and its peers.

All show one tree: the originals of a repository are read through each of them, from the same pages of the backing
store. What is written goes into a directory of each one's own.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from benchmarks import kernel
from benchmarks.mounted import Repository

BARE, REPOFS = "bare", "repofs"
_START_SECONDS = 10.0
_START_QUIET_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """A directory to work in, and the mount and the process that answers for it; the bare one has neither."""

    name: str
    home: Path  # the user directory
    mountpoint: Path | None = None
    daemon: int | None = None

    @property
    def originals(self) -> Path:
        return self.home / "originals"

    @property
    def scratch(self) -> Path:
        return self.home / f"scratch-{self.name}"

    def drop_cache(self) -> None:
        """Have the kernel forget what it keeps of the mount, and wait until the daemon has heard of it."""
        if self.mountpoint is not None and self.daemon is not None:
            kernel.drop_cache(self.mountpoint)
            kernel.wait_idle(self.daemon)

    def cpu_seconds(self) -> float:
        """Return the processor time that the daemon has used; the bare directory has none."""
        return 0.0 if self.daemon is None else kernel.cpu_seconds(self.daemon)


@contextlib.contextmanager
def places(top: Path, repository: Repository, example: Path | None) -> Iterator[tuple[list[Place], list[str]]]:
    """Mount *repository* and its peers below *top*; yield all places, the bare one first, and why others are left out.

    *example* is pyfuse3's passthroughfs.py.
    """
    managed, user = repository.layout.managed, repository.user_directory
    commands, left_out = _peers(example)
    with contextlib.ExitStack() as stack:
        found = [Place(BARE, managed / user)]
        for name, command in commands.items():
            mountpoint = top / name
            pid = stack.enter_context(_peer(command, managed, mountpoint))
            found.append(Place(name, mountpoint / user, mountpoint, pid))
        for name in [*commands, BARE, REPOFS]:
            (managed / user / f"scratch-{name}").mkdir()
        home = stack.enter_context(repository.mounted())
        kernel.wait_idle(repository.daemon, _START_QUIET_SECONDS)  # at its first start it looks at all files
        found.append(Place(REPOFS, home, repository.mountpoint, repository.daemon))
        yield found, left_out


def _peers(example: Path | None) -> tuple[dict[str, Sequence[str]], list[str]]:
    """Return the commands of the peers that are there, and a sentence for each that is not."""
    commands: dict[str, Sequence[str]] = {}
    left_out = []
    if bindfs := which("bindfs"):
        commands["bindfs"] = (bindfs, "-f")
    else:
        left_out.append("bindfs is left out: it is not installed (Debian has it as package bindfs).")
    if example is not None:
        commands["pyfuse3"] = (sys.executable, str(example))
    else:
        left_out.append("pyfuse3's example is left out: --example names passthroughfs.py of pyfuse3's source package.")
    return commands, left_out


@contextlib.contextmanager
def _peer(command: Sequence[str], source: Path, mountpoint: Path) -> Iterator[int]:
    """Have *command* mount *source* on *mountpoint*, which is made; yield its process. TimeoutError if it does not."""
    mountpoint.mkdir()
    process = subprocess.Popen([*command, str(source), str(mountpoint)], stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _START_SECONDS
        while not mountpoint.is_mount():
            if process.poll() is not None or time.monotonic() > until:
                raise TimeoutError(f"{command[0]} has not mounted {mountpoint}")
            time.sleep(0.02)
        yield process.pid
    finally:
        subprocess.run(["umount", str(mountpoint)], check=False, stderr=subprocess.DEVNULL)
        process.terminate()
        process.wait()
