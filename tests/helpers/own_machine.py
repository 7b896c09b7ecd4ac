"""A machine of its own: a process that sees, in place of /etc, a directory in which a test writes accounts and groups.

Not files of /etc alone: the kernel takes a mount away from a file that somebody replaces, as useradd does.

Run in place of repofs, it is one whose importer sees that directory:
``python -m tests.helpers.own_machine ETC mount …``.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from repofs.cli import main

ACCOUNTS = ("passwd", "group", "nsswitch.conf")
_NEEDED = ("ld.so.cache", "localtime", "alternatives")  # by any program


def etc(directory: Path) -> Path:
    """Make *directory* with the machine's accounts and groups and return it."""
    directory.mkdir()
    for name in ACCOUNTS:
        (directory / name).write_bytes((Path("/etc") / name).read_bytes())
    for name in _NEEDED:
        source = Path("/etc") / name
        if source.is_dir():
            shutil.copytree(source, directory / name, symlinks=True)
        elif source.exists():
            shutil.copyfile(source, directory / name)
    return directory


def command(directory: Path, *words: str) -> list[str]:
    """Return the command that runs *words* with *directory* as /etc; for root."""
    mounting = f'mount --bind {shlex.quote(str(directory))} /etc && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mounting, "sh", *words]


if __name__ == "__main__":
    given = Path(sys.argv.pop(1))
    script = given.with_name("importer")
    script.write_text(f'#!/bin/sh\nexec {shlex.join(command(given, sys.executable))} "$@"\n')
    script.chmod(0o755)
    sys.executable = str(script)  # with which the daemon starts its importer
    main()
