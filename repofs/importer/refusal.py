"""The answer to a request by which the catalogue broke: nothing was changed, and imports go on."""

from __future__ import annotations

import errno

import structlog

from repofs.errors import StoreFailed
from repofs.importer.wire import Answer

log = structlog.get_logger(__name__)


def refused(number: int, what: str, error: Exception) -> Answer:
    """Return the answer to message *number*: *what*, by *error*. That the disk has failed is logged already, however
    often it is met."""
    if not isinstance(error, StoreFailed):
        log.error(what, exc_info=error)
    return Answer(number, None, f"the catalogue refused it: {error}", errno.EIO)
