"""The parent of the processes that look into arrays (`child`), `repofs.confinement.forking`.

Started by the daemon as ``python -P -m repofs.tables.process FD``. It keeps of root's rights those to become somebody
else and to end what it has started, opens no array and hears no token.
"""

from __future__ import annotations

import logging
import os
import signal

from repofs import privileges
from repofs.confinement import forking
from repofs.tables import child


def main() -> None:
    """Load the libraries, give up what is not needed, and serve."""
    parent = os.getppid()
    connection = forking.connection_of_parent()
    logging.disable()
    child.load()
    privileges.keep(privileges.FORKING)
    privileges.hide_memory()
    privileges.end_with_parent(signal.SIGKILL, parent)
    forking.serve(connection, child.live)


if __name__ == "__main__":
    main()
