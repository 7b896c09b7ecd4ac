"""An importer process that is killed when it hashes a file called poison:
python -m tests.helpers.poisoned_importer --fd N DIRECTORY."""

from __future__ import annotations

import os
import signal

from repofs.importer import __main__ as importer
from repofs.importer import bringing

_checksum = bringing.checksum


def checksum(fd: int, algorithm: str) -> str:
    if os.readlink(f"/proc/self/fd/{fd}").endswith("poison"):
        os.kill(os.getpid(), signal.SIGKILL)
    return _checksum(fd, algorithm)


if __name__ == "__main__":
    bringing.checksum = checksum
    importer.main()
