"""How a mount that was started in the background tells the command that started it how it went.

Over a pipe: "ready" once the mount answers, or the sentence that says why there is none. An end without either means
that the process was killed or crashed; its traceback stands in the log.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

READY = "ready"


@dataclass(slots=True)
class Teller:
    """The child's end of the pipe, or None where nobody listens. Tells the first word only."""

    descriptor: int | None

    def tell(self, word: str) -> None:
        if self.descriptor is not None:
            os.write(self.descriptor, word.encode("utf-8", "surrogateescape"))
            self.leave()

    def leave(self) -> None:
        """Tell nothing any more: another process that has this end does."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def listen(descriptor: int) -> str:
    """Return what the child has told, waiting until it has or its end of the pipe is closed."""
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read().decode("utf-8", "surrogateescape")
