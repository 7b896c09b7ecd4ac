"""Unix accounts and groups of this machine that tests make, and take away again."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator

from tests.helpers.people import Person
from tests.helpers.waiting import until

_PREFIX = f"rfs{os.getpid()}"  # of the names: no two runs of the tests meet
_LOCKED = (1, 10)  # useradd(8), groupadd(8): /etc/passwd or /etc/group is in somebody else's hands


class Accounts:
    """Makes accounts and groups; their names begin with a prefix of this run of the tests."""

    def __init__(self) -> None:
        self._users: list[str] = []
        self._groups: list[str] = []

    def group(self, name: str) -> str:
        """Make a Unix group and return its whole name."""
        whole = f"{_PREFIX}{name}"
        _run("groupadd", whole)
        self._groups.append(whole)
        return whole

    def person(self, name: str, *groups: str) -> Person:
        """Make an account with a group of its own, in the Unix *groups* too; its sessions have none of these."""
        whole = f"{_PREFIX}{name}"
        among = ("--groups", ",".join(groups)) if groups else ()
        _run("useradd", "--no-create-home", "--no-log-init", "--user-group", *among, whole)
        self._users.append(whole)
        self._groups.append(whole)  # her own; usermod and userdel do not always know it for hers
        entry = pwd.getpwnam(whole)
        return Person(whole, entry.pw_uid, entry.pw_gid)

    def rename(self, person: Person, name: str) -> Person:
        """Give the account of *person* another name: its uid is then somebody else's."""
        whole = f"{_PREFIX}{name}"
        _run("usermod", "--login", whole, person.name)
        self._users[self._users.index(person.name)] = whole
        return Person(whole, person.uid, person.gid)

    def remove(self, person: Person) -> None:
        """Remove the account of *person*; what belongs to her uid stays."""
        _run("userdel", person.name)
        self._users.remove(person.name)

    def into(self, person: Person, group: str) -> None:
        """Put the account of *person* into a Unix group."""
        _run("gpasswd", "--add", person.name, group)

    def out_of(self, person: Person, group: str) -> None:
        _run("gpasswd", "--delete", person.name, group)

    def clean_up(self) -> None:
        """Remove all that is left; every one is tried, whatever becomes of the others."""
        with contextlib.ExitStack() as last_first:
            for group in self._groups:
                last_first.callback(_remove_group, group)
            for user in self._users:
                last_first.callback(_run, "userdel", user)


def _remove_group(name: str) -> None:
    with contextlib.suppress(KeyError):  # userdel has removed it
        grp.getgrnam(name)
        _run("groupdel", name)


@contextlib.contextmanager
def accounts() -> Iterator[Accounts]:
    """Make accounts and groups in the context; all are gone after it."""
    made = Accounts()
    try:
        yield made
    finally:
        made.clean_up()


def gid_of(group: str) -> int:
    return grp.getgrnam(group).gr_gid


def _run(*command: str) -> None:
    def tried() -> subprocess.CompletedProcess[str] | None:
        done = subprocess.run(command, capture_output=True, text=True)
        return None if done.returncode in _LOCKED else done

    done = until(tried, f"{command}: not locked", 20.0)
    assert done.returncode == 0, f"{command}: {done.stderr}"
