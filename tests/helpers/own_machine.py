"""repofs on a machine of its own: its importer process sees, in place of the machine's, the files of /etc that a test
gives it, and changes of them at once.

Run in place of repofs: ``python -m tests.helpers.own_machine ETC mount …``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from repofs.cli import main

FILES = ("passwd", "group", "nsswitch.conf")

_IMPORTER = """#!/bin/sh
exec unshare --mount sh -ec '
    for file in {files}; do mount --bind "{etc}/$file" "/etc/$file"; done
    exec {python} "$@"
' sh "$@"
"""


def etc(directory: Path) -> Path:
    """Make *directory* with copies of the machine's files and return it."""
    directory.mkdir()
    for name in FILES:
        (directory / name).write_bytes((Path("/etc") / name).read_bytes())
    return directory


if __name__ == "__main__":
    given = Path(sys.argv.pop(1))
    script = given / "importer"
    script.write_text(_IMPORTER.format(files=" ".join(FILES), etc=given, python=sys.executable))
    script.chmod(0o755)
    sys.executable = str(script)  # which the daemon starts its importer with
    main()
