"""The program calls.c: compiled once, run for each measurement, by one user or by many at a time."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence
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
        words = self._words(work, path, arguments)
        return float(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)

    def do_together(self, users: int, work: str, path: Path, *arguments: object) -> float:
        """The same by *users* processes at a time; return the seconds of the slowest."""
        words = self._words(work, path, arguments)
        running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(users)]
        told = [process.communicate()[0] for process in running]
        if failed := next((process for process in running if process.returncode), None):
            raise subprocess.CalledProcessError(failed.returncode, words)
        return max(map(float, told))

    @contextlib.contextmanager
    def meanwhile(self, work: str, path: Path, *arguments: object) -> Iterator[None]:
        """Another process does *work* from the beginning of the context on; it is waited for at the end."""
        words = self._words(work, path, arguments)
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            code = process.wait()
        if code:
            raise subprocess.CalledProcessError(code, words)

    def _words(self, work: str, path: Path, arguments: Sequence[object]) -> list[str]:
        return [str(self._program), work, str(path), *map(str, arguments)]
