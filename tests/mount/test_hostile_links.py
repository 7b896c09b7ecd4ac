"""Links, names and races by which somebody would reach what is not hers: as an attacker tries them, in loops.

Mallory is an experimenter with a directory of her own. Alice's group is private, and its daemon is root: what counts
is that nothing is read, changed or imported that Mallory could not reach herself.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repofs.namespace.backing import RENAME_EXCHANGE, RENAME_NOREPLACE
from tests.helpers.administered import Administered, administered
from tests.helpers.calls import rename2
from tests.helpers.companion import answer
from tests.helpers.drops import drop, set_on
from tests.helpers.mounting import fact, tell
from tests.helpers.people import Person
from tests.helpers.waiting import until

ALICES, MALLORYS, SHARED = 61000, 61010, 61020
ALICE = Person("alice", 61001, ALICES)
MALLORY = Person("mallory", 61002, MALLORYS)
TEAM = Person("team", 61003, SHARED)  # whose group is read-write, and Mallory in it
SECRET = b"SECRET: not for Mallory\n"
HERS = b"what Mallory may read\n"
ROUNDS = 1000  # of a race at least: the other process may be late
SECONDS = 4.0  # that a race takes at most

SETTINGS = """
[drops]
settle_seconds = 0.1
[readers]
workers = 1
"""


def populate(drive: Administered) -> None:
    drive.add_group("alices", ALICES, "private")
    drive.add_group("mallorys", MALLORYS, "private")
    drive.add_group("shared", SHARED, "read-write")
    for person, group in ((ALICE, "alices"), (MALLORY, "mallorys"), (TEAM, "shared")):
        drive.add_user(person, group)
    drive.add_member("shared", MALLORY)


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    with administered(populate, SETTINGS) as drive:
        yield drive


@pytest.fixture
def secret(drive: Administered, request: pytest.FixtureRequest) -> Path:
    """An original of Alice's, imported."""
    path = drive.home(ALICE) / f"{request.node.name[:100]}.bin".replace("/", "_")
    drop(ALICE, path, SECRET)
    drive.wait_imported(path)
    return path


@pytest.fixture
def mine(drive: Administered, request: pytest.FixtureRequest) -> Path:
    """A new directory of Mallory's."""
    path = drive.home(MALLORY) / request.node.name[:100].replace("/", "_")
    MALLORY.do(os.mkdir, path)
    return path


@pytest.fixture
def victim(drive: Administered, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file outside that only root may touch; nothing of it has changed at the end of the test."""
    directory = drive.outside / f"roots-{request.node.name[:80]}".replace("/", "_")
    directory.mkdir(mode=0o755)
    path = directory / "scan.bin"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_bytes() == SECRET
    for field in ("st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_nlink"):
        assert getattr(after, field) == getattr(before, field), field
    assert os.listxattr(path) == []
    assert os.listdir(directory) == ["scan.bin"]


def read(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def under_way(directory: Path) -> bool:
    return any(state in str(fact(directory, "state")) for state in ("writing", "settling", "importing"))


def assert_nothing_of_it_was_imported(drive: Administered, mine: Path) -> None:
    """All in Mallory's directory has been imported, and only Alice's own drops are originals of these bytes."""
    until(lambda: not under_way(mine), lambda: f"all is imported: {fact(mine, 'state')}", 90.0)
    originals = [drive.layout.managed / str(one["import_path"]) for one in drive.originals()]
    alices = drive.backing(drive.home(ALICE))
    assert not [path for path in originals if SECRET in path.read_bytes() and not path.is_relative_to(alices)]


# --- links ----------------------------------------------------------------------------------------


def _daemons(what: str) -> Callable[[Administered, Path], str]:
    return lambda drive, secret: f"/proc/{drive.process.pid}/{what}"


LINKS: dict[str, tuple[Callable[[Administered, Path], str | Path], str]] = {
    "a file of Alice's": (lambda drive, secret: secret, "EACCES"),
    "Alice's directory": (lambda drive, secret: secret.parent, "EACCES"),
    "her directory from beside": (lambda drive, secret: f"../../{secret.parent.name}/{secret.name}", "EACCES"),
    "up from within her directory": (lambda drive, secret: f"{secret.parent}/../{secret.parent.name}", "EACCES"),
    "her import directory": (lambda drive, secret: drive.original_of(secret).parent, "EACCES"),
    "the backing tree": (lambda drive, secret: drive.backing(secret), "EACCES"),
    "the catalogue": (lambda drive, secret: drive.layout.catalogue, "EACCES"),
    "the key": (lambda drive, secret: drive.layout.key, "EACCES"),
    "nowhere": (lambda drive, secret: "no/where", "ENOENT"),
    "the daemon's root": (_daemons("root/etc/shadow"), "EACCES"),
    "the daemon's directory": (_daemons("cwd/x"), "EACCES"),
    "the daemon's descriptors": (_daemons("fd/0"), "EACCES"),
    "the daemon's memory": (_daemons("mem"), "EACCES"),
    "itself": (lambda drive, secret: "link", "ELOOP"),
}


@pytest.mark.parametrize("where", LINKS)
def test_a_link_leads_where_her_own_rights_take_her(drive: Administered, secret: Path, mine: Path, where: str) -> None:
    target, refusal = LINKS[where]
    link = mine / "link"
    MALLORY.do(os.symlink, target(drive, secret), link)
    assert MALLORY.do(answer, read, link) == refusal
    assert MALLORY.do(answer, os.open, link, os.O_WRONLY | os.O_CREAT, 0o666) != "ok"
    assert MALLORY.do(answer, os.listdir, link) in (refusal, "ENOTDIR")
    assert MALLORY.do(answer, os.open, link, os.O_RDONLY | os.O_NOFOLLOW) == "ELOOP"
    assert MALLORY.do(os.readlink, link) == str(target(drive, secret))


def test_a_link_into_proc_self_is_her_own_process(drive: Administered, mine: Path) -> None:
    """Not the daemon's, as it would be if it followed links on her behalf."""
    MALLORY.do(os.symlink, "/proc/self/status", mine / "link")
    assert f"Uid:\t{MALLORY.uid}\t" in MALLORY.do(read, mine / "link").decode()


def test_a_chain_and_dots_through_links_end_at_her_rights(drive: Administered, secret: Path, mine: Path) -> None:
    MALLORY.do(os.symlink, secret.parent, mine / "0")
    for number in range(1, 50):
        MALLORY.do(os.symlink, str(number - 1), mine / str(number))
    assert MALLORY.do(answer, read, mine / "30" / secret.name) == "EACCES"
    assert MALLORY.do(answer, read, mine / "49" / secret.name) == "ELOOP"  # the kernel follows 40
    assert MALLORY.do(answer, os.listdir, mine / "0" / ".." / secret.parent.name) == "EACCES"
    assert MALLORY.do(answer, os.listdir, mine / ".." / ".." / secret.parent.name) == "EACCES"
    assert MALLORY.do(answer, os.listdir, drive.mountpoint / ".." / "repository" / "ManagedRepository") == "EACCES"


def test_a_link_is_never_a_drop(drive: Administered, victim: Path, secret: Path, mine: Path) -> None:
    """Links to what the daemon could read: beside a drop that is imported, and in a directory that is one drop."""
    MALLORY.do(os.mkdir, mine / "plate.zarr")
    for place, target in ((mine / "link.bin", victim), (mine / "plate.zarr" / "0", secret)):
        MALLORY.do(os.symlink, drive.backing(target) if target == secret else target, place)
        assert MALLORY.do(answer, os.setxattr, place, "user.repofs.import", b"now") == "EACCES"
    MALLORY.do((mine / "plate.zarr" / ".zarray").write_bytes, b"{}")
    beside = drop(MALLORY, mine / "beside.bin")
    MALLORY.do(tell, mine, "now")
    drive.wait_imported(beside)
    assert (mine / "link.bin").is_symlink()
    assert_nothing_of_it_was_imported(drive, mine)


def test_a_hard_link_of_what_is_not_hers(drive: Administered, secret: Path, mine: Path) -> None:
    """Of a file that she cannot reach; and of one of her read-write group, which she may write to the kernel's mind."""
    theirs = drop(TEAM, drive.home(TEAM) / "theirs.bin")
    assert MALLORY.do(answer, os.link, secret, mine / "link") == "EACCES"
    assert MALLORY.do(answer, os.link, theirs, mine / "link") == "EXDEV"  # w on it is hers by the level
    assert MALLORY.do(answer, os.link, theirs, theirs.with_name("link")) == "EACCES"
    own = drop(MALLORY, mine / "own.bin")
    assert MALLORY.do(answer, os.link, own, theirs.with_name("planted")) in ("EACCES", "EXDEV")
    assert MALLORY.do(answer, os.link, own, secret.with_name("planted")) == "EACCES"
    assert os.listdir(mine) == ["own.bin"]
    assert "planted" not in os.listdir(theirs.parent)


# --- names of others ------------------------------------------------------------------------------


def test_names_do_not_pass_from_one_user_directory_to_another(drive: Administered, secret: Path, mine: Path) -> None:
    theirs, own = drop(TEAM, drive.home(TEAM) / "names.bin"), drop(MALLORY, mine / "own.bin")
    for source, target in ((own, theirs), (theirs, own), (own, theirs.with_name("new")), (theirs, mine / "new")):
        for flags in (0, RENAME_EXCHANGE, RENAME_NOREPLACE):
            if flags == 0 or (flags == RENAME_EXCHANGE) == target.exists():
                assert MALLORY.do(answer, rename2, source, target, flags) == "EXDEV", (source, target, flags)
    for flags in (0, RENAME_EXCHANGE):
        assert MALLORY.do(answer, rename2, own, secret, flags) == "EACCES"
        assert MALLORY.do(answer, rename2, secret, own, flags) == "EACCES"
    assert read(theirs) != read(own)
    assert read(secret) == SECRET


def test_directories_do_not_pass_either(drive: Administered, mine: Path) -> None:
    TEAM.do(os.mkdir, drive.home(TEAM) / "series")
    MALLORY.do(os.mkdir, mine / "series")
    for flags in (0, RENAME_EXCHANGE):
        assert MALLORY.do(answer, rename2, mine / "series", drive.home(TEAM) / "series", flags) == "EXDEV"
        assert MALLORY.do(answer, rename2, drive.home(TEAM) / "series", mine / "series", flags) == "EXDEV"
    assert MALLORY.do(answer, rename2, drive.home(MALLORY), drive.home(TEAM), RENAME_EXCHANGE) == "EACCES"


HOSTILE = {
    "newline": b"scan\n2026-01-01T00:00:00.000Z imported as Fileset:1\n.bin",
    "not UTF-8": b"\xff\xfe\x80scan.bin",
    "escape": b"\x1b[2J\x1b]0;owned\x07.bin",
    "255 bytes": b"x" * 251 + b".bin",
    "quotes": b"a'b\"c`$(id).bin",
    "dots": b"...",
    "a dash": b"-rf",
    "an object": b"Fileset:1",
    "a number by percent": b"%n%s%d.bin",
    "right to left": "scan\u202enib.exe".encode(),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_name_is_a_name(drive: Administered, mine: Path, kind: str) -> None:
    """It is imported as it is; its log stays a list of lines that begin with a time, with nothing for a terminal, and
    the record of it."""
    path = mine / os.fsdecode(HOSTILE[kind])
    drop(MALLORY, path, HOSTILE[kind])
    MALLORY.do(tell, path, "now")
    drive.wait_imported(path)
    log = (drive.mountpoint / str(fact(path, "log"))).read_bytes()
    *lines, record = log.splitlines()
    assert all(line[:4].isdigit() and line[10:11] == b"T" for line in lines)
    assert record.startswith(b"record ") and record.isascii()
    assert not [line for line in log.splitlines() if line.startswith(b"2026-01-01T00:00:00.000Z")]
    assert b"\x1b" not in log
    assert ALICE.do(answer, read, path) == ALICE.do(answer, os.stat, path) == "EACCES"
    assert read(path) == HOSTILE[kind]


@pytest.mark.parametrize("name", [".", "..", "./x/..", "x/../../..", "x" * 256, ""])
def test_what_is_no_name_of_her_own(drive: Administered, mine: Path, name: str) -> None:
    MALLORY.do(os.mkdir, mine / "x")
    path = f"{mine}/{name}" if name else ""
    for function in (os.rmdir, os.unlink, os.mkdir):
        assert MALLORY.do(answer, function, path) != "ok"
    assert MALLORY.do(answer, os.rename, mine / "x", path) != "ok"
    assert (mine / "x").is_dir()


# --- races ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Mallory exchanges two of her names all the time, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.set_blocking(reader, False)
        MALLORY.become()
        os._exit(_swap(one, other, reader))
    os.close(reader)
    try:
        yield
    finally:
        os.close(writer)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0  # it did exchange them


def _swap(one: Path, other: Path, stop: int) -> int:
    exchanged = 0
    while True:
        exchanged += answer(rename2, one, other, RENAME_EXCHANGE) == "ok"
        with contextlib.suppress(BlockingIOError):
            if os.read(stop, 1) == b"":
                return 0 if exchanged else 1


def repeated(act: Callable[[], bytes | str | None]) -> Counter[bytes | str]:
    """Do *act* at least so many rounds and until it has had two answers, for some seconds at most; count what it
    answered: errnos by name."""
    answers: Counter[bytes | str] = Counter()
    end = time.monotonic() + SECONDS
    for number in itertools.count(1):
        try:
            answers[act() or "ok"] += 1
        except OSError as error:
            answers[errno.errorcode[error.errno or 0]] += 1
        if time.monotonic() > end or (number >= ROUNDS and len(answers) > 1):
            break
    return answers


def as_mallory(act: Callable[[], bytes | str | None]) -> Counter[bytes | str]:
    return MALLORY.do(repeated, act)


@pytest.fixture
def directory_and_link(drive: Administered, victim: Path, mine: Path) -> tuple[Path, Path]:
    """A directory of Mallory's with a file, and a link to the directory of root's with a file of the same name."""
    directory, link = mine / "series", mine / "link"
    MALLORY.do(os.mkdir, directory)
    MALLORY.do((directory / "scan.bin").write_bytes, HERS)
    MALLORY.do(os.symlink, victim.parent, link)
    return directory, link


def test_opening_through_a_directory_that_becomes_a_link(directory_and_link: tuple[Path, Path]) -> None:
    directory, link = directory_and_link
    with swapping(directory, link):
        got = as_mallory(lambda: read(directory / "scan.bin"))
    assert set(got) <= {HERS, "EACCES", "ENOENT"}
    assert got[HERS] and len(got) > 1  # the race was on


def test_opening_without_following_links(directory_and_link: tuple[Path, Path]) -> None:
    directory, link = directory_and_link

    def opened() -> bytes:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            return os.listdir(fd)[0].encode()
        finally:
            os.close(fd)

    with swapping(directory, link):
        got = as_mallory(opened)
    assert set(got) <= {b"scan.bin", "ELOOP", "ENOTDIR", "ENOENT"}
    assert got[b"scan.bin"] and len(got) > 1


def test_importing_from_a_directory_that_becomes_a_link(
    drive: Administered, directory_and_link: tuple[Path, Path], mine: Path
) -> None:
    """The daemon is root and reads what it imports: it must be what Mallory wrote, by whatever name it goes."""
    directory, link = directory_and_link

    def dropped() -> None:
        path = directory / f"{time.monotonic_ns()}.bin"
        path.write_bytes(HERS)
        tell(path, "now")

    set_on(MALLORY, directory, "policy", {"settle_seconds": 0.1})
    with swapping(directory, link):
        got = as_mallory(dropped)
    assert got["ok"] and len(got) > 1, got
    assert_nothing_of_it_was_imported(drive, mine)


def test_importing_a_file_that_becomes_a_link(drive: Administered, secret: Path, victim: Path, mine: Path) -> None:
    for target in (victim, drive.backing(secret)):
        number = target.stat().st_ino
        name, link = mine / f"scan-{number}.bin", mine / f"link-{number}"
        MALLORY.do(os.symlink, target, link)

        def dropped(name: Path = name) -> None:
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, name.with_name(f"{time.monotonic_ns()}.bin"))
            name.write_bytes(HERS)
            tell(name, "now")

        MALLORY.do(name.write_bytes, HERS)
        with swapping(name, link):
            got = as_mallory(dropped)
        assert got["ok"]
    assert_nothing_of_it_was_imported(drive, mine)
    assert ALICE.do(read, secret) == SECRET


CHANGES: dict[str, Callable[[Path], object]] = {
    "chmod": lambda path: os.chmod(path, 0o666),
    "utime": lambda path: os.utime(path, ns=(1, 1)),
    "truncate": lambda path: os.truncate(path, 0),
    "setxattr": lambda path: os.setxattr(path, "user.owned", b"x"),
    "chgrp": lambda path: os.chown(path, -1, MALLORYS),
    "append": lambda path: _append(path),
    "import": lambda path: tell(path, "now"),
}


def _append(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, b"owned")
    finally:
        os.close(fd)


@pytest.mark.parametrize("change", CHANGES)
def test_changing_a_file_that_becomes_a_link(
    drive: Administered, secret: Path, victim: Path, mine: Path, change: str
) -> None:
    """The daemon changes the inode that was asked for, not what its name leads to by then."""
    set_on(MALLORY, mine, "policy", {"settle_seconds": 86400})
    kept = drive.backing(drive.original_of(secret))
    before = kept.stat()
    for number, target in enumerate((victim, kept, drive.layout.settings)):
        name, link = mine / f"scan-{number}.bin", mine / f"link-{number}"
        settings = drive.layout.settings.read_bytes()
        MALLORY.do(name.write_bytes, HERS)
        MALLORY.do(os.symlink, target, link)
        with swapping(name, link):
            got = as_mallory(lambda name=name: CHANGES[change](name) and None)
        assert got["ok"] or got["EPERM"], got
        assert drive.layout.settings.read_bytes() == settings
    after = kept.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert ALICE.do(read, secret) == SECRET
    assert "user.owned" not in os.listxattr(kept)


def test_making_names_in_a_directory_that_becomes_a_link(
    drive: Administered, directory_and_link: tuple[Path, Path], mine: Path
) -> None:
    """The fixture of the link's target sees to it that nothing was made there."""
    directory, link = directory_and_link
    for made in (
        lambda: _touch(directory),
        lambda: os.mkdir(directory / str(time.monotonic_ns())),
        lambda: os.symlink("x", directory / str(time.monotonic_ns())),
        lambda: os.rename(directory / "scan.bin", directory / "scan.bin"),
        lambda: os.link(directory / "scan.bin", directory / str(time.monotonic_ns())),
    ):
        with swapping(directory, link):
            got = as_mallory(made)
        assert got["ok"], got
        assert set(got) <= {"ok", "EACCES", "ENOENT", "EXDEV", "EPERM"}, got  # EPERM: fs.protected_hardlinks


def _touch(directory: Path) -> None:
    os.close(os.open(directory / str(time.monotonic_ns()), os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def test_removing_what_becomes_a_link(drive: Administered, directory_and_link: tuple[Path, Path]) -> None:
    """`rm -r` and `shutil.rmtree` on a directory that is exchanged for a link to somebody else's."""
    directory, link = directory_and_link
    with swapping(directory, link):
        for _ in range(20):
            MALLORY.run("rm", "-rf", f"{directory}/scan.bin", check=False)
            MALLORY.do(answer, (directory / "scan.bin").write_bytes, HERS)


def test_an_object_of_the_catalogue_is_not_asked_for_by_a_clever_name(drive: Administered, secret: Path) -> None:
    fileset = fact(secret, "fileset")
    for name in (f"{fileset}", f"{fileset} ", f"{fileset}\n", f"0{fileset}", f"{fileset}/../x", "Experimenter:0", ":"):
        assert MALLORY.do(answer, os.getxattr, drive.mountpoint, f"user.repofs.{name}") in ("ENODATA", "EINVAL")
    assert ALICE.do(os.getxattr, drive.mountpoint, f"user.repofs.{fileset}")
