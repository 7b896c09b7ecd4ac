"""People and groups of a running mount: who may change them, and what the machine's own accounts and groups do."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from repofs.administration import office, requests
from repofs.cli import administration, repository
from repofs.cli.exit_codes import ExitCode
from repofs.control import client
from tests.helpers import mounting, own_machine, processes
from tests.helpers.command_line import Answer, repofs
from tests.helpers.mounting import Drive
from tests.helpers.people import ALICE, BOB, CAROL, ELSEWHERE, ROOT, Person
from tests.helpers.waiting import until

ADA = Person("ada", 61020, 61020)  # may change users, and is no experimenter
GRACE = Person("grace", 61021, 61021)  # may change groups
EVE = Person("eve", 61099, 61099)  # a stranger
DORA = 61004

SETTINGS = (
    mounting.QUICK
    + """
[people]
refresh_seconds = 0.2
[[administrators]]
group = "user-admins"
privileges = ["ModifyUser"]
[[administrators]]
group = "group-admins"
privileges = ["ModifyGroup"]
"""
)
ACCOUNTS = "".join(f"{one.name}:x:{one.uid}:{one.gid}::/:/bin/sh\n" for one in (ALICE, BOB, ADA, GRACE, EVE))
GROUPS = "user-admins:x:61100:ada\ngroup-admins:x:61101:grace\n"
IMPORTED_BEFORE = (
    administration,
    client,
    office,
    repository,
    requests,
)  # a child without root's rights may not find them


REFUSED = ["group.add", "group.set-permissions", "group.add-member"]


class Machine:
    """The accounts and groups that the importer sees."""

    def __init__(self, directory: Path) -> None:
        self.etc = own_machine.etc(directory)
        self._passwd, self._group = ((self.etc / name).read_text() for name in ("passwd", "group"))
        self.set()

    def set(self, *, accounts: str = ACCOUNTS, groups: str = GROUPS, away: bool = False) -> None:
        """Let there be these besides the machine's own; *away*: the service that comes after the files."""
        marker = self.etc / own_machine.AWAY
        if away:
            marker.touch()
        self._replace("passwd", self._passwd + accounts)
        self._replace("group", self._group + groups)
        if not away:
            marker.unlink(missing_ok=True)

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that nobody sees half of it, as useradd does."""
        new = self.etc / f"{name}.new"
        new.write_text(text)
        new.rename(self.etc / name)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with mounting.scratch() as directory:
        yield directory


@pytest.fixture(scope="module")
def shared_machine(place: Path) -> Machine:
    return Machine(place / "etc")


@pytest.fixture(scope="module")
def module_drive(place: Path, shared_machine: Machine) -> Iterator[Drive]:
    command = (sys.executable, "-m", "tests.helpers.own_machine", str(shared_machine.etc))
    with mounting.mounted(SETTINGS, command, place=place) as drive:
        yield drive


@pytest.fixture
def machine(drive: Drive, shared_machine: Machine) -> Iterator[Machine]:
    """The machine, as it was at first when the test has ended."""
    before = people(drive)
    yield shared_machine
    shared_machine.set()
    until(lambda: people(drive) == before, lambda: f"{before}: there are {people(drive)}")


def ask(drive: Drive, *words: str, person: Person = ROOT) -> Answer:
    return person.do(repofs, "-C", drive.repository, *words)


def told(drive: Drive, *words: str, person: Person = ROOT) -> str:
    answer = ask(drive, *words, person=person)
    assert answer.code == 0, answer.err
    return answer.out


def people(drive: Drive) -> list[Any]:
    """Return the members of all groups, and all accounts."""
    groups = json.loads(told(drive, "group", "list", "--json"))
    users = json.loads(told(drive, "user", "list", "--json"))
    return [(one["group"], one["members"], one["by_unix_group"]) for one in groups] + [
        (one["user"], one["account"]) for one in users if one["removed"] is None
    ]


def members(drive: Drive, group: str) -> list[str]:
    return next(found for name, found, _ in (one for one in people(drive) if len(one) == 3) if name == group)


def trail(drive: Drive, person: Person, *options: str) -> list[str]:
    """Return the acts of *person* in the audit trail."""
    lines = told(drive, "audit", "--user", str(person.uid), "--json", *options).splitlines()
    return [json.loads(line)["act"] for line in lines]


# --- who may -------------------------------------------------------------------------------------


def test_a_restricted_administrator_adds_and_removes_users_and_no_groups(drive: Drive) -> None:
    added = told(drive, "user", "add", "dora", "--uid", str(DORA), "--group", "lab", person=ADA)
    [home] = [name for name in os.listdir(drive.mountpoint) if name.startswith("dora_")]
    assert added.endswith(f"with the directory {home}\n")
    Person("dora", DORA, DORA).run("cp", "/bin/true", drive.mountpoint / home)
    for words in (
        ("add", "new", "--gid", "6100"),
        ("set-permissions", "lab", "private"),
        ("add-member", "lab", "carol"),
    ):
        answer = ask(drive, "group", *words, person=ADA)
        assert (answer.code, "ada is no administrator with the privilege ModifyGroup" in answer.err) == (4, True)
    told(drive, "user", "remove", "dora", person=ADA)
    until(lambda: trail(drive, ADA, "--refused") == REFUSED, "refusals in the trail")
    assert [act for act in trail(drive, ADA) if act.startswith("user.")] == ["user.add", "user.remove"]


def test_an_administrator_of_groups_and_an_owner(drive: Drive) -> None:
    assert ask(drive, "group", "add-member", "lab", "carol", person=ALICE).code == ExitCode.REFUSED
    told(drive, "group", "add-member", "lab", "alice", "--owner", person=GRACE)
    told(drive, "group", "add-member", "lab", "carol", person=ALICE)
    assert members(drive, "lab") == ["alice", "bob", "carol"]
    told(drive, "group", "remove-member", "lab", "carol", person=ALICE)
    told(drive, "group", "add-member", "lab", "alice", person=ALICE)
    assert ask(drive, "group", "add-member", "lab", "carol", person=ALICE).code == ExitCode.REFUSED
    assert ask(drive, "user", "remove", "bob", person=GRACE).code == ExitCode.REFUSED


def test_people_see_the_lists_and_strangers_do_not(drive: Drive) -> None:
    for person in (ALICE, CAROL, ADA, GRACE):
        assert told(drive, "user", "list", person=person) == told(drive, "user", "list")
        assert told(drive, "group", "list", person=person) == told(drive, "group", "list")
    answer = ask(drive, "user", "list", person=EVE)
    assert (answer.code, answer.err.count("\n")) == (ExitCode.REFUSED, 1)
    assert f"uid {EVE.uid} is no experimenter" in answer.err


def test_what_is_wrong_is_told_as_without_a_daemon(drive: Drive) -> None:
    for words, code in (
        (("user", "add", "alice", "--uid", "61044", "--group", "lab"), ExitCode.EXISTS),
        (("user", "add", "no-such-account", "--group", "lab"), ExitCode.NOT_FOUND),
        (("user", "add", "mallory", "--uid", str(BOB.uid), "--group", "lab"), ExitCode.INVALID),
        (("user", "add", "dora", "--uid", "61044"), ExitCode.INVALID),
        (("user", "remove", "nobody-here"), ExitCode.NOT_FOUND),
        (("group", "add", "wheel", "--gid", "0"), ExitCode.INVALID),
        (("group", "remove-member", "lab", "alice"), ExitCode.INVALID),
    ):
        answer = ask(drive, *words)
        assert (answer.code, answer.err.count("\n")) == (code, 1), answer.err


def test_under_sudo_the_caller_is_named(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(ALICE.uid))
    told(drive, "group", "set-permissions", "elsewhere", "private")
    assert "group.set-permissions" in told(drive, "audit", "--user", str(ALICE.uid))
    assert told(drive, "user", "list", person=CAROL)  # of whom the variable says nothing


# --- the machine ---------------------------------------------------------------------------------


def test_who_joins_and_leaves_a_unix_group(drive: Drive, machine: Machine) -> None:
    machine.set(groups=f"{GROUPS}elsewhere:x:{ELSEWHERE}:bob,eve\n")
    until(lambda: members(drive, "elsewhere") == ["bob", "carol"], "Bob a member")
    assert "bob (Unix)" in told(drive, "group", "list")
    told(drive, "group", "remove-member", "elsewhere", "bob")
    assert members(drive, "elsewhere") == ["carol"]
    told(drive, "group", "add-member", "elsewhere", "bob")
    machine.set()
    assert members(drive, "elsewhere") == ["bob", "carol"]  # as repofs says, whatever Unix does
    told(drive, "group", "remove-member", "elsewhere", "bob")


def test_an_administrator_who_is_one_no_more(drive: Drive, machine: Machine) -> None:
    machine.set(groups="user-admins:x:61100:\ngroup-admins:x:61101:\n")
    until(lambda: ask(drive, "user", "list", person=ADA).code == ExitCode.REFUSED, "Ada a stranger")


def test_a_uid_given_out_again(drive: Drive, machine: Machine) -> None:
    drive.allowed = ["uid 61002 was bob and is now the account zoe"]
    machine.set(accounts=ACCOUNTS.replace("bob:", "zoe:"))
    until(lambda: ask(drive, "user", "list", person=BOB).code == ExitCode.REFUSED, "Bob's successor a stranger")
    assert members(drive, "lab") == ["alice"]
    assert ("bob", "zoe") in people(drive)
    machine.set()
    until(lambda: ask(drive, "user", "list", person=BOB).code == ExitCode.DONE, "Bob himself")


def test_an_account_that_goes_leaves_its_experimenter(drive: Drive, machine: Machine) -> None:
    machine.set(accounts="".join(line for line in ACCOUNTS.splitlines(keepends=True) if not line.startswith("alice")))
    until(lambda: ("alice", None) in people(drive), "no account")
    assert told(drive, "user", "list", person=ALICE)
    assert members(drive, "lab") == ["alice", "bob"]


def test_while_a_service_is_away_its_last_answer_counts(drive: Drive, machine: Machine) -> None:
    drive.allowed = ["their last answer counts"]
    machine.set(groups=f"{GROUPS}elsewhere:x:{ELSEWHERE}:alice\n")
    until(lambda: members(drive, "elsewhere") == ["alice", "carol"], "Alice a member")
    before = people(drive)
    machine.set(away=True, accounts="", groups="")
    until(lambda: any("last answer counts" in line for line in drive.log.read_text().splitlines()), "a warning")
    assert people(drive) == before
    assert told(drive, "user", "list", person=ADA)
    answer = ask(drive, "user", "add", "dora", "--uid", str(DORA), "--group", "lab")
    assert (answer.code, "try again later" in answer.err) == (ExitCode.FAILED, True)


# --- the socket ----------------------------------------------------------------------------------


def test_what_a_client_sends_does_not_end_the_mount(drive: Drive) -> None:
    for said in (b"\0" * 200_000, b"{\n" * 100, b""):
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(str(drive.layout.control))
            sock.settimeout(0)
            with suppress(BlockingIOError):
                sock.send(said)
    assert told(drive, "user", "list", person=ALICE)


def test_a_killed_daemon_leaves_the_commands_and_the_next_daemon_in_peace(own_drive: Drive) -> None:
    own_drive.kill()
    assert own_drive.layout.control.is_socket()
    told(own_drive, "group", "set-permissions", "lab", "private")  # on the catalogue itself
    assert ask(own_drive, "user", "list", person=ALICE).code == ExitCode.REFUSED
    own_drive.start()
    assert "private" in told(own_drive, "group", "list", person=ALICE)
    own_drive.stop()
    assert not own_drive.layout.control.exists()
    own_drive.start()


def test_after_the_death_of_the_importer_the_next_one_answers(own_drive: Drive) -> None:
    own_drive.allowed = ["the importer process died"]
    [importer] = [pid for pid in processes.descendants(own_drive.process.pid) if _is_importer(pid)]
    os.kill(importer, signal.SIGKILL)
    until(lambda: ask(own_drive, "user", "list", person=ALICE).code == ExitCode.DONE, "an answer")


def _is_importer(pid: int) -> bool:
    return b"repofs.importer" in Path(f"/proc/{pid}/cmdline").read_bytes()
