"""Calls of libc that fail in a process under test: the way to `failing_calls.c`, which says how."""

from __future__ import annotations

import mmap
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")
_NUMBERS, _WORDS = struct.Struct("6i"), struct.Struct("48s208s")
_SIZE = _NUMBERS.size + _WORDS.size
NEVER = 1 << 30


def build(directory: Path) -> Path:
    """Compile the library into *directory*, and return it."""
    library = directory / "failing_calls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Failed:
    """What an armed time came to: the calls counted and failed, and the first that failed."""

    counted: int
    failed: int
    name: str
    path: str  # below the directory


class FailingCalls:
    """The calls about what lies in *below*, of the processes whose command line has *word* in it."""

    def __init__(self, library: Path, control: Path, below: Path, word: str) -> None:
        control.write_bytes(bytes(_SIZE))
        self._environment = {
            "LD_PRELOAD": str(library),
            "FAILING_CALLS": str(control),
            "FAILING_CALLS_BELOW": f"{below.resolve()}/",
            "FAILING_CALLS_IN": word,
        }
        with control.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _SIZE)

    @property
    def environment(self) -> dict[str, str]:
        """Return what the process is to find in its environment."""
        return dict(self._environment)

    def arm(self, first: int, code: int, *, for_ever: bool = False) -> None:
        """Let call number *first* from now on, 1 is the next, fail with errno *code*; *for_ever*: all after it, too."""
        self._shared[:] = _NUMBERS.pack(0, first, code, for_ever, 0, 0) + bytes(_WORDS.size)
        self._shared[:4] = (1).to_bytes(4, sys.byteorder)  # last

    @property
    def failed(self) -> int:
        """Return how many calls have failed since `arm`."""
        return int(_NUMBERS.unpack(self._shared[: _NUMBERS.size])[-1])

    def disarm(self) -> Failed:
        """Let all calls go on, and return what has happened since `arm`."""
        self._shared[:4] = bytes(4)
        *_, counted, failed = _NUMBERS.unpack(self._shared[: _NUMBERS.size])
        words = _WORDS.unpack(self._shared[-_WORDS.size :])
        name, path = (word.rstrip(b"\0").decode(errors="replace") for word in words)
        return Failed(counted, failed, name, path)
