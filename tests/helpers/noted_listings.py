"""repofs that notes each name that its Python lists, a line each, in the file that REPOFS_TEST_LISTED names.

Run in place of repofs: ``python -m tests.helpers.noted_listings mount …``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from repofs.cli import main
from repofs.fuse import operations

NOTES = "REPOFS_TEST_LISTED"
_pyfuse3: Any = operations.pyfuse3  # which is not to be imported before repofs.fuse has loaded its native module
_reply = _pyfuse3.readdir_reply


def reply(token: Any, name: bytes, *what: Any) -> bool:
    with Path(os.environ[NOTES]).open("ab") as notes:
        notes.write(name + b"\n")
    return bool(_reply(token, name, *what))


if __name__ == "__main__":
    _pyfuse3.readdir_reply = reply
    main()
