"""An importer process that is killed when it hashes a file called poison:
python -m tests.helpers.poisoned_importer --fd N DIRECTORY."""

from __future__ import annotations

import os
import signal
from typing import Any

from repofs.importer import __main__ as importer
from repofs.repository.checksum import Checksum

_read_on = Checksum.read_on


def read_on(running: Checksum, fd: int, *how: Any) -> None:
    if os.readlink(f"/proc/self/fd/{fd}").endswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    _read_on(running, fd, *how)


if __name__ == "__main__":
    Checksum.read_on = read_on  # type: ignore[method-assign]
    importer.main()
