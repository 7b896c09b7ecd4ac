"""`.repofs/session`: the key of a session for the HTTPS door. The mount has proved who reads it."""

from __future__ import annotations

import os
from collections.abc import Callable

SIZE_BYTES = 44  # a key and a newline


class SessionFile:
    """A file whose every opening begins a session of its reader: the line in it is the key."""

    def __init__(self, create: Callable[[int], str]) -> None:
        """*create* returns the key of a new session of a uid; raises AccessDenied for whoever may have none."""
        self._create = create

    def open(self, uid: int) -> int:
        """Return a descriptor on the key of a new session of *uid*. Raises AccessDenied."""
        key = self._create(uid)
        handle = os.memfd_create("session")
        os.write(handle, f"{key}\n".encode())
        return handle

    def close(self, handle: int) -> None:
        """Close a descriptor that `open` has returned; the session goes on."""
        os.close(handle)

    def size(self, uid: int) -> int:
        """Return how many bytes the file has, for anybody."""
        return SIZE_BYTES
