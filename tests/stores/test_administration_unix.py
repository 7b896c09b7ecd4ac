"""The machine's own accounts and groups, and what is answered when a service is away."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from repofs.administration import unix
from repofs.administration.unix import Account
from repofs.errors import NotFound
from tests.helpers import own_machine

NOBODYS = 4_000_000_001  # a uid and gid that no account has
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can give a process its own /etc/group")


def test_an_account_by_name_and_number() -> None:
    expected = pwd.getpwuid(os.getuid())
    account = Account(expected.pw_name, expected.pw_uid, expected.pw_gid)
    assert unix.account_by_uid(os.getuid()) == account == unix.account_by_name(expected.pw_name)
    assert unix.uid_of(expected.pw_name) == os.getuid()
    assert expected.pw_gid in unix.gids_of(account)


def test_a_group_by_name_and_number() -> None:
    for expected in grp.getgrall():
        group = unix.group_by_name(expected.gr_name)
        assert group == unix.group_by_gid(expected.gr_gid)
        assert group is not None
        assert (group.gid, list(group.members)) == (expected.gr_gid, expected.gr_mem)


def test_what_is_not_there() -> None:
    assert unix.account_by_uid(NOBODYS) is unix.account_by_name("no-such-account") is None
    assert unix.group_by_gid(NOBODYS) is unix.group_by_name("no-such-group") is None
    with pytest.raises(NotFound, match="--uid"):
        unix.uid_of("no-such-account")
    with pytest.raises(NotFound, match="--gid"):
        unix.gid_of("no-such-group")


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return own_machine.etc(tmp_path / "etc")


def _asked(etc: Path, expression: str) -> str:
    """Return what *expression* is in a process that has *etc* for /etc."""
    program = f"from repofs.administration import unix; print({expression})"
    command = own_machine.command(etc, sys.executable, "-c", program)
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return done.stdout.strip() or done.stderr.splitlines()[-1]


@root_only
def test_a_group_of_thousands(etc: Path) -> None:
    names = ",".join(f"member-with-a-long-name-{number}" for number in range(5000))
    (etc / "group").write_text(f"root:x:0:\nmany:x:7000:{names}\n")
    assert _asked(etc, "len(unix.group_by_gid(7000).members), unix.group_by_name('many').gid") == "5000 7000"


@root_only
def test_a_name_that_is_not_utf_8(etc: Path) -> None:
    (etc / "passwd").write_bytes(b"root:x:0:0::/:/bin/sh\ncaf\xe9:x:7001:7001::/:/bin/sh\n")
    assert _asked(etc, "ascii(unix.account_by_uid(7001).name)") == r"'caf\udce9'"
    assert _asked(etc, "unix.account_by_name('caf\\udce9').uid") == "7001"


@root_only
def test_a_service_that_is_away_is_no_empty_answer(etc: Path) -> None:
    (etc / "nsswitch.conf").write_text("passwd: files hesiod\ngroup: files hesiod\n")  # of glibc, never set up
    assert _asked(etc, "unix.account_by_uid(0).name, unix.group_by_gid(0).name") == "root root"
    for question in ("account_by_uid(7001)", "account_by_name('eve')", "group_by_gid(7001)", "group_by_name('eve')"):
        assert "cannot be asked now" in _asked(etc, f"unix.{question}")
