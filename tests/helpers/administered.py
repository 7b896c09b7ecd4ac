"""A repository whose people, groups and levels are made and changed by commands, as an administrator does it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repofs.repository.layout import Layout
from tests.helpers.command_line import repofs
from tests.helpers.mounting import CHECKOUT, QUICK, REPOFS, Drive, running, scratch
from tests.helpers.people import Person


class Administered(Drive):
    """A repository without anybody, until `add_group` and `add_user` are called."""

    def _make(self, settings: str) -> dict[Person, str]:
        repository = self.repository.absolute()
        assert repofs("init", repository).code == 0
        self.layout = Layout(repository)
        self.layout.settings.write_text(settings.replace("@outside@", str(self.outside)))
        return {}

    def command(self, *words: str | Path) -> str:
        """Run a command as root and return what it prints; it must succeed.

        Of its own process while the daemon runs, as anybody's shell would.
        """
        whole = ("-C", str(self.repository), *map(str, words))
        if self.daemon is None:
            answer = repofs(*whole)
            code, out, err = answer.code, answer.out, answer.err
        else:
            done = subprocess.run([*REPOFS, *whole], capture_output=True, text=True, cwd=CHECKOUT)
            code, out, err = done.returncode, done.stdout, done.stderr
        assert code == 0, f"repofs {words} ended with {code}: {err}"
        return out

    def add_group(self, name: str, gid: int, level: str) -> None:
        self.command("group", "add", name, "--gid", str(gid), "--permissions", level)

    def add_user(self, person: Person, group: str) -> None:
        """Make *person* an experimenter whose imports belong to *group*; she needs no account."""
        self.command("user", "add", person.name, "--uid", str(person.uid), "--group", group)
        self._directories[person] = self.user(person.name)["directory"]

    def user(self, name: str) -> dict[str, Any]:
        """Return what `repofs user list` says of a user."""
        [found] = [one for one in json.loads(self.command("user", "list", "--json")) if one["user"] == name]
        return dict(found)

    def add_member(self, group: str, person: Person, *, owner: bool = False) -> None:
        self.command("group", "add-member", group, person.name, *(["--owner"] if owner else []))

    def remove_member(self, group: str, person: Person) -> None:
        self.command("group", "remove-member", group, person.name)

    def set_permissions(self, group: str, level: str) -> None:
        self.command("group", "set-permissions", group, level)

    def show(self, what: str | Path) -> dict[str, Any]:
        """Return what `repofs show` tells root of an object or a path."""
        return dict(json.loads(self.command("show", what, "--json")))


def administrators(groups: dict[str, list[str]]) -> str:
    """Return settings that make members of Unix groups administrators, with the privileges of each group."""
    return "".join(
        f"\n[[administrators]]\ngroup = {json.dumps(group)}\nprivileges = {json.dumps(privileges)}\n"
        for group, privileges in groups.items()
    )


@contextlib.contextmanager
def administered(populate: Callable[[Administered], None], settings: str = QUICK) -> Iterator[Administered]:
    """Make a repository, let *populate* add its people, and mount it; what must be so at the end is checked."""
    with scratch() as place:
        drive = Administered(place, settings)

        def start() -> None:
            populate(drive)
            drive.start()

        with running(drive, start):
            yield drive
