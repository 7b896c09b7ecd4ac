"""Unix accounts by name, for the commands that take one."""

from __future__ import annotations

from repofs.administration.unix import uid_of

__all__ = ["uid_of"]
