"""The program calls.c: compiled once, run for each measurement, by one user or by many at a time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("calls.c")


class Calls:
    """Raises CalledProcessError when it cannot be compiled, or a system call fails."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / "calls"
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, "-O3", "-Wall", "-o", str(self._program), str(SOURCE)], check=True)

    def do(self, work: str, path: Path, *arguments: object) -> float:
        """Do *work* on *path*; return the seconds of its measured part."""
        words = [str(self._program), work, str(path), *map(str, arguments)]
        return float(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)

    def do_together(self, users: int, work: str, path: Path, *arguments: object) -> float:
        """The same by *users* processes at a time; return the seconds of the slowest."""
        words = [str(self._program), work, str(path), *map(str, arguments)]
        running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(users)]
        told = [process.communicate()[0] for process in running]
        if failed := next((process for process in running if process.returncode), None):
            raise subprocess.CalledProcessError(failed.returncode, words)
        return max(map(float, told))
