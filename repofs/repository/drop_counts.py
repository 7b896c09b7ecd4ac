"""How many bytes the drops hold, written down at the end of a mount, so that the next need not look at all of them.

It says too whether it is still so: a mount that begins takes that back, and one that crashes leaves it taken back.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog

from repofs.quotas import Held
from repofs.repository import durable

log = structlog.get_logger()


class Counts(msgspec.Struct, frozen=True):
    held: tuple[Held, ...] = ()
    whole: bool = False  # nothing has changed since


def load(path: Path) -> Counts:
    """Return what was written down; of a file that is not there or damaged, nothing."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Counts)
    except FileNotFoundError:
        return Counts()
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("the drops are counted anew: what was written down cannot be read", error=str(error))
        return Counts()


def save(path: Path, held: Iterable[Held], *, whole: bool) -> None:
    """Write down what drops hold. What cannot be written is logged: then they are counted anew the next time."""
    try:
        durable.write_whole(path, msgspec.json.encode(Counts(tuple(held), whole)))
    except OSError as error:
        log.warning("what drops hold cannot be written down", error=str(error))
        with suppress(OSError):
            path.unlink(missing_ok=True)
