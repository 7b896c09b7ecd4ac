"""Unix accounts by name, for the commands that take one."""

from __future__ import annotations

import pwd
from functools import cache

from repofs.administration.unix import uid_of

__all__ = ["name_of", "uid_of"]


@cache
def name_of(uid: int) -> str | None:
    """Return the name of the account *uid*; None when the machine has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
