"""The parent of the reader processes (`sandbox`), `repofs.confinement.forking`.

Started by the importer as ``python -P -m repofs.formats.process FD LIMITS``, the limits as JSON. It keeps of root's
rights those to become nobody and to end what it has started, and opens no file.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys

import msgspec

from repofs import privileges
from repofs.confinement import forking
from repofs.formats import registry, sandbox
from repofs.formats.exchange import Limits


def main() -> None:
    """Load the readers, give up what is not needed, and serve."""
    parent = os.getppid()
    connection = forking.connection_of_parent()
    limits = msgspec.json.decode(sys.argv[2], type=Limits)
    logging.disable()
    registry.readers()
    privileges.keep(privileges.FORKING)
    privileges.hide_memory()
    privileges.end_with_parent(signal.SIGKILL, parent)
    forking.serve(connection, functools.partial(sandbox.live, limits))


if __name__ == "__main__":
    main()
