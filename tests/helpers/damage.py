"""What readers are tried on besides good files: the same file cut short, with bytes changed, and with no more modules
to load."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from repofs.errors import ReaderFailed
from repofs.formats import registry
from repofs.formats.reader import Files
from repofs.image import Recognised

MOST_SECONDS = 2.0


def cut(raw: bytes) -> Iterator[bytes]:
    """Yield the first 1, 2, 4, … bytes of *raw*, and all but the last."""
    length = 1
    while length < len(raw):
        yield raw[:length]
        length *= 2
    yield raw[:-1]


def changed(raw: bytes, changes: Iterable[tuple[int, bytes]]) -> bytes:
    """Return *raw* with other bytes at some places."""
    mutated = bytearray(raw)
    for where, new in changes:
        at = where % len(mutated)
        mutated[at : at + len(new)] = new
    return bytes(mutated)


def asked(name: str, files: Files) -> Recognised | None:
    """Put every question to the readers; None: one broke on it and said so. Takes no more than MOST_SECONDS."""
    before = time.process_time()
    found = None
    try:
        registry.look(name, files)
        found = registry.read(name, files)
        assert found.images or found.note
        for image in found.images[:3]:
            registry.picture(name, files, image.series)
    except ReaderFailed as failed:
        assert "broke" in failed.message or "memory" in failed.message
    assert time.process_time() - before < MOST_SECONDS
    return found


def loaded_late(directory: Path, names: Sequence[str]) -> list[str]:
    """Return the modules that are loaded only when the readers look at these files, when a confined process cannot."""
    lines = [
        "import sys",
        "from pathlib import Path",
        "from repofs.formats import registry",
        "from repofs.formats.local_files import LocalFiles",
        "registry.readers()",
        "before = set(sys.modules)",
        *(f"registry.picture({name!r}, LocalFiles(Path({str(directory)!r})), 0)" for name in names),
        "print(*sorted(set(sys.modules) - before))",
    ]
    ran = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return ran.stdout.split()
