"""A machine of its own: processes that see the accounts and groups that a test writes into a directory.

`command` puts the directory in place of /etc, for root: not files of /etc alone, as the kernel takes a mount away from
a file that somebody replaces, as useradd does.

Run in place of repofs, it is one whose importer asks the directory instead of the C library, because the daemon gives
up the right to mount: ``python -m tests.helpers.own_machine ETC mount …``.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from repofs.administration import unix
from repofs.administration.unix import Account, UnixGroup, Unreachable

ACCOUNTS = ("passwd", "group", "nsswitch.conf")
AWAY = "away"  # a file that is there while the service that has further accounts is not
_NEEDED = ("ld.so.cache", "localtime", "alternatives")  # by any program

Entry = TypeVar("Entry", Account, UnixGroup)


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


class Files:
    """Stands for `administration.unix`: reads passwd and group of a directory at each question."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def account_by_uid(self, uid: int) -> Account | None:
        return self._first(self._accounts(), lambda one: one.uid == uid)

    def account_by_name(self, name: str) -> Account | None:
        return self._first(self._accounts(), lambda one: one.name == name)

    def group_by_gid(self, gid: int) -> UnixGroup | None:
        return self._first(self._groups(), lambda one: one.gid == gid)

    def group_by_name(self, name: str) -> UnixGroup | None:
        return self._first(self._groups(), lambda one: one.name == name)

    def gids_of(self, account: Account) -> frozenset[int]:
        return frozenset({account.gid} | {one.gid for one in self._groups() if account.name in one.members})

    def _accounts(self) -> list[Account]:
        return [Account(line[0], int(line[2]), int(line[3])) for line in self._lines("passwd")]

    def _groups(self) -> list[UnixGroup]:
        return [
            UnixGroup(line[0], int(line[2]), tuple(filter(None, line[3].split(",")))) for line in self._lines("group")
        ]

    def _lines(self, name: str) -> list[list[str]]:
        return [line.split(":") for line in (self._directory / name).read_text().splitlines()]

    def _first(self, entries: list[Entry], fits: Callable[[Entry], bool]) -> Entry | None:
        found = next(filter(fits, entries), None)
        if found is None and (self._directory / AWAY).exists():
            raise Unreachable("the machine's accounts cannot be asked now (a test): try again later")
        return found


def _be_importer(directory: Path) -> None:
    from repofs.importer.__main__ import main

    files = Files(directory)
    for question in (
        files.account_by_uid,
        files.account_by_name,
        files.group_by_gid,
        files.group_by_name,
        files.gids_of,
    ):
        setattr(unix, question.__name__, question)
    main()


def _be_repofs(directory: Path) -> int:
    from repofs.cli import main

    script = directory.with_name("importer")
    words = [sys.executable, "-m", "tests.helpers.own_machine", str(directory)]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    script.chmod(0o755)
    sys.executable = str(script)  # with which the daemon starts its importer: -m repofs.importer …
    return main()


if __name__ == "__main__":
    given = Path(os.path.abspath(sys.argv.pop(1)))
    if sys.argv[1:3] == ["-m", "repofs.importer"]:
        del sys.argv[1:3]
        _be_importer(given)
    else:
        sys.exit(_be_repofs(given))
