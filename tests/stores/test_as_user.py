"""A thread that acts for a caller has her rights and no others; no other thread notices."""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from repofs import privileges
from repofs.errors import AccessDenied
from repofs.repository import as_user
from repofs.repository.as_user import Caller, acting_as, caller_of
from tests.helpers.people import ALICE, BOB, CAROL, ELSEWHERE, LAB, ROOT, Person

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other users, which only root can")

THREADS, ROUNDS = 200, 25
DAVE = Person("dave", 61004, ELSEWHERE, (61020, LAB))  # of the group by a supplementary one
NAMES = ("Uid", "Gid", "Groups", "CapEff", "CapPrm")


def as_caller(person: Person) -> Caller:
    return Caller(person.uid, person.gid, person.groups)


def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return or raise what *function* does in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def identity(task: int) -> tuple[str, ...]:
    """What the kernel says of the rights of a thread of this process."""
    lines = Path(f"/proc/self/task/{task}/status").read_text().splitlines()
    return tuple(line for line in lines if line.partition(":")[0] in NAMES)


def may(caller: Caller, path: Path) -> bool:
    with acting_as(caller):
        return opens(path)


def opens(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        return False
    return True


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can reach: that of pytest is closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def private_file(place: Path, person: Person) -> Path:
    path = place / person.name
    path.write_text(person.name)
    os.chown(path, person.uid, person.gid)
    path.chmod(0o400)
    return path


@root_only
def test_every_mode_gives_each_user_what_posix_gives_her(place: Path) -> None:
    file, directory = place / "file", place / "directory"
    file.touch()
    directory.mkdir()
    (directory / "below").touch()
    (directory / "below").chmod(0o444)
    for path in (file, directory):
        os.chown(path, ALICE.uid, LAB)
    shifts = {ALICE: 6, BOB: 3, DAVE: 3, CAROL: 0}
    asked = ((file, file, stat.S_IROTH), (directory, directory, stat.S_IROTH))
    asked += ((directory, directory / "below", stat.S_IXOTH),)

    def wrong_cells() -> tuple[int, list[str]]:
        cells, wrong = 0, []
        for mode in range(0o1000):
            for path, opened, bit in asked:
                path.chmod(mode)
                for person, shift in shifts.items():
                    cells += 1
                    if may(as_caller(person), opened) != bool(mode >> shift & bit):
                        wrong.append(f"{person.name} {opened.name} {mode:o}")
                assert may(as_caller(ROOT), opened)
        return cells, wrong

    assert in_thread(wrong_cells) == (512 * 3 * 4, [])


@root_only
def test_threads_never_see_each_others_rights(place: Path) -> None:
    files = {person: private_file(place, person) for person in (ALICE, DAVE)}
    secret = private_file(place, ROOT)
    start = threading.Barrier(THREADS + 1)
    main = threading.get_native_id()
    before = identity(main)

    def alternate(number: int) -> list[str]:
        start.wait()
        faults = []
        for n in range(number, number + ROUNDS):
            person, other = (ALICE, DAVE) if n % 2 else (DAVE, ALICE)
            with acting_as(as_caller(person)):
                if set(os.getgroups()) != set(person.groups):
                    faults.append(f"{person.name} had groups {os.getgroups()}")
                for path, allowed in ((files[person], True), (files[other], False), (secret, False)):
                    if opens(path) != allowed:
                        faults.append(f"{person.name} and {path.name}")
            if not opens(secret) or identity(threading.get_native_id()) != before:
                faults.append("the daemon lost its rights")
        return faults

    with ThreadPoolExecutor(THREADS) as pool:
        running = [pool.submit(alternate, number) for number in range(THREADS)]
        start.wait()
        while not all(future.done() for future in running):
            assert identity(main) == before
            assert opens(secret)
    assert [fault for future in running for fault in future.result()] == []
    assert identity(main) == before


@root_only
def test_rights_are_put_back_when_the_act_fails(place: Path) -> None:
    secret = private_file(place, ROOT)

    def act() -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
        before = identity(threading.get_native_id())
        with pytest.raises(ZeroDivisionError), acting_as(as_caller(DAVE)):
            _ = 1 // 0
        return opens(secret), before, identity(threading.get_native_id())

    reads, before, after = in_thread(act)
    assert reads
    assert before == after


@root_only
@pytest.mark.parametrize("nobody", [Caller(-1, 0, ()), Caller(2**32, 0, ()), Caller(1, 2**32, ()), Caller(1, -1, ())])
def test_an_id_that_is_none_is_refused_rather_than_taken_for_roots(nobody: Caller) -> None:
    def act() -> tuple[tuple[str, ...], tuple[str, ...]]:
        before = identity(threading.get_native_id())
        with pytest.raises(OSError, match="setfs"), acting_as(nobody):
            raise AssertionError("acted")
        return before, identity(threading.get_native_id())

    before, after = in_thread(act)
    assert before == after
    with pytest.raises(OverflowError):
        in_thread(may, Caller(1, 1, (2**32,)), Path("/"))


@root_only
def test_the_main_thread_never_changes() -> None:
    with pytest.raises(RuntimeError, match="main thread"), acting_as(as_caller(ALICE)):
        raise AssertionError("acted")


@root_only
def test_a_thread_that_cannot_go_back_ends_the_process() -> None:
    def act() -> None:
        set_ids = as_user._set_ids

        def once(who: Caller) -> None:
            if who.uid == 0:
                raise OSError("no way back")
            set_ids(who)

        as_user._set_ids = once
        in_thread(may, as_caller(ALICE), Path("/"))

    with pytest.raises(AssertionError, match="ended its process: 70"):
        ROOT.do(act)


@root_only
def test_capabilities_of_a_daemon_with_a_uid_of_its_own_do_not_serve_callers(place: Path) -> None:
    """setfsuid from one uid to another that is not 0 leaves CAP_DAC_READ_SEARCH as it is."""
    secret = private_file(place, ALICE)

    def daemon() -> tuple[bool, bool, bool, bool]:
        keep_capabilities(CAROL)
        before = identity(os.getpid())
        stranger, owner = in_thread(may, as_caller(BOB), secret), in_thread(may, as_caller(ALICE), secret)
        return opens(secret), stranger, owner, identity(os.getpid()) == before

    assert ROOT.do(daemon) == (True, False, True, True)


def keep_capabilities(person: Person) -> None:
    """Make this process one of *person* that has every capability."""
    keepcaps = 8
    assert ctypes.CDLL(None).prctl(keepcaps, 1, 0, 0, 0) == 0
    os.setresgid(person.gid, person.gid, person.gid)
    os.setresuid(person.uid, person.uid, person.uid)
    held = privileges.capabilities()
    privileges.set_capabilities(privileges.Sets(held[1], held[1], 0, held[4], held[4], 0))


def test_the_daemon_of_an_ordinary_user_acts_for_her_only() -> None:
    def act() -> str:
        me = os.geteuid()
        with acting_as(Caller(me, os.getegid(), ())):
            os.close(os.open("/", os.O_RDONLY))
        with pytest.raises(AccessDenied) as refused, acting_as(Caller(me + 1, os.getegid(), ())):
            raise AssertionError("acted")
        return str(refused.value)

    assert "only root's can open files for uid" in (ALICE.do(act) if os.geteuid() == 0 else act())


@root_only
def test_a_callers_groups_are_those_of_her_process() -> None:
    def ask() -> tuple[Caller, int]:
        return caller_of(os.getpid(), DAVE.uid, DAVE.gid), os.getpid()

    caller, gone = DAVE.do(ask)
    assert (caller.uid, caller.gid, set(caller.groups)) == (DAVE.uid, DAVE.gid, set(DAVE.groups))
    assert caller_of(gone, DAVE.uid, DAVE.gid).groups == ()  # no process, no account


@root_only
def test_a_thread_has_groups_of_its_own() -> None:
    """A server of files (Samba) asks for many users, each in a thread."""

    def ask() -> Caller:
        with acting_as(as_caller(DAVE)):
            return caller_of(threading.get_native_id(), DAVE.uid, DAVE.gid)

    assert set(in_thread(ask).groups) == set(DAVE.groups)


def test_groups_of_a_process_with_other_ids_are_those_of_the_account() -> None:
    root = pwd.getpwuid(0)
    by_account = set(os.getgrouplist(root.pw_name, 4001))
    assert set(caller_of(os.getpid(), 0, 4001).groups) == by_account == {4001, *by_account}
    assert caller_of(os.getpid(), ALICE.uid, 4001).groups == ()  # no account
