"""One wrapper around every handler: an errno for what was foreseen, a logged EIO for what was not.

pyfuse3 ends its loop on any exception but FUSEError: without this one user's odd name would unmount everybody.
"""

from __future__ import annotations

import errno
import functools
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pyfuse3
import structlog

from repofs.namespace.virtual import FIRST

log = structlog.get_logger()
Door = TypeVar("Door", bound=type[pyfuse3.Operations])

# Requests that change something on the repository's disk, and nothing anywhere else.
_OF_THE_DISK = {
    *("create", "mkdir", "mknod", "unlink", "rmdir", "rename", "setattr", "removexattr", "write", "fsync", "fsyncdir")
}
# And those that may read a source first, whose errors are not the repository's.
_CHANGES = _OF_THE_DISK | {"link", "symlink", "setxattr"}

HANDLERS = [name for name, value in vars(pyfuse3.Operations).items() if inspect.iscoroutinefunction(value)]

unexpected: Counter[str] = Counter()
"""How often each handler has met what nobody foresaw, since the start."""


def guarded(operations: Door) -> Door:
    """Wrap all handlers of *operations*, whose disk is that of its `health`; a class decorator."""
    for name in HANDLERS:
        handler = vars(operations).get(name)
        if handler is not None:
            setattr(operations, name, _guard(name, handler))
    return operations


def _guard(name: str, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(handler)
    async def guarded_handler(operations: Any, first: Any, *args: Any) -> Any:
        try:
            if name in _CHANGES:
                operations.health.require()
            return await handler(operations, first, *args)
        except pyfuse3.FUSEError:
            raise
        except OSError as error:
            if name in _OF_THE_DISK and first < FIRST:
                operations.health.heed(name, error)
            log.debug("refused", request=name, errno=errno.errorcode.get(error.errno or 0), reason=str(error))
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        except Exception:
            unexpected[name] += 1
            log.exception("a request has failed in an unforeseen way", request=name, times=unexpected[name])
            raise pyfuse3.FUSEError(errno.EIO) from None

    return guarded_handler
