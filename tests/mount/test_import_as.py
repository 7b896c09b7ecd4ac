"""Import As: owners of a group and administrators with Sudo put files into another's directory, for that user."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.accounts import accounts
from tests.helpers.administered import Administered, administered, administrators
from tests.helpers.companion import answer, companion
from tests.helpers.drops import described, drop, set_on
from tests.helpers.mounting import QUICK, fact
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

LAB, OTHERS = 61000, 61010
CONTENT = b"what the microscope saw\n" * 1000


@dataclass(frozen=True)
class Staff:
    """The people of the tests. Facts and logs call them as the catalogue does, whether they have accounts or not."""

    alice: Person  # whose directory it is
    boss: Person  # owner of the group
    deputy: Person  # owner of the group, without an account
    sudo: Person  # administrator with Sudo, no experimenter
    powerless: tuple[Person, ...]  # who may all see or even edit, and not import

    def named(self, who: str) -> Person:
        return ROOT if who == "root" else getattr(self, who)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def staffed() -> Iterator[tuple[Administered, Staff]]:
    with accounts() as made:
        privileges = {made.group(name): [one] if one else [] for name, one in PRIVILEGES.items()}
        alice, boss = made.person("alice"), made.person("boss")
        admins = {name: made.person(f"{name}p", group) for name, group in zip(PRIVILEGES, privileges, strict=True)}
        deputy, member, stranger = (Person(name, 61000 + n, 61000 + n) for n, name in enumerate(NAMELESS, 1))
        others = [admin for name, admin in admins.items() if name != "sudo"]
        staff = Staff(alice, boss, deputy, admins["sudo"], (member, stranger, *others))

        def populate(drive: Administered) -> None:
            drive.add_group("lab", LAB, "read-write")
            drive.add_group("others", OTHERS, "private")
            drive.add_user(alice, "lab")
            for person in (boss, deputy):
                drive.add_user(person, "others")
                drive.add_member("lab", person, owner=True)
            drive.add_user(member, "lab")

        with administered(populate, QUICK + administrators(privileges)) as drive:
            yield drive, staff


PRIVILEGES = {"sudo": "Sudo", "write": "WriteOwned", "delete": "DeleteOwned", "chown": "Chown", "none": ""}
NAMELESS = ("deputy", "member", "stranger")


@pytest.fixture
def drive(staffed: tuple[Administered, Staff]) -> Iterator[Administered]:
    yield staffed[0]
    staffed[0].check()


@pytest.fixture
def staff(staffed: tuple[Administered, Staff]) -> Staff:
    return staffed[1]


@pytest.fixture
def folder(drive: Administered, staff: Staff, request: pytest.FixtureRequest) -> Path:
    """A directory of Alice's."""
    path = drive.home(staff.alice) / request.node.name.replace("/", "_")[:100]
    staff.alice.do(os.mkdir, path)
    return path


# --- by which program -----------------------------------------------------------------------------


def make_series(person: Person, outside: Path) -> Path:
    """Make a directory outside with two files, one in a directory of its own; all *person*'s, with old times."""

    def make() -> Path:
        top = outside / f"series-{person.name}-{os.urandom(4).hex()}"
        (top / "deep").mkdir(parents=True)
        for path in (top / "scan.bin", top / "deep" / "scan.bin"):
            path.write_bytes(os.urandom(8) + CONTENT)
            os.utime(path, ns=(10**18, 10**18))
        os.utime(top / "deep", ns=(10**18, 10**18))
        return top

    return person.do(make)


def packed(person: Person, series: Path) -> Path:
    def pack() -> Path:
        path = series.with_suffix(".tar")
        with tarfile.open(path, "w") as tar:
            tar.add(series, series.name)
        return path

    return person.do(pack)


def cp(person: Person, series: Path, folder: Path) -> None:
    person.run("cp", "-r", series, folder)


def cp_p(person: Person, series: Path, folder: Path) -> None:
    person.run("cp", "-rp", series, folder)


def rsync(person: Person, series: Path, folder: Path) -> None:
    person.run("rsync", "-a", series, folder)


def mkdir_and_install(person: Person, series: Path, folder: Path) -> None:
    person.run("mkdir", "-p", folder / series.name / "deep")
    for name in ("scan.bin", "deep/scan.bin"):
        person.run("install", "-p", "-m", "0640", series / name, folder / series.name / name)


def tar(person: Person, series: Path, folder: Path) -> None:
    person.run("tar", "-xf", packed(person, series), "-C", folder)


def mv(person: Person, series: Path, folder: Path) -> None:
    person.run("mv", series, folder)


PROGRAMS: dict[str, Callable[[Person, Path, Path], None]] = {
    "cp": cp, "cp -p": cp_p, "rsync -a": rsync, "mkdir -p, install": mkdir_and_install, "tar x": tar, "mv": mv,
}  # fmt: skip


@pytest.mark.parametrize("who", ["boss", "deputy", "sudo", "root"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_she_puts_there_is_the_owners(
    drive: Administered, staff: Staff, folder: Path, program: str, who: str
) -> None:
    person, alice = staff.named(who), staff.alice
    series = make_series(person, drive.outside)
    content = (series / "deep" / "scan.bin").read_bytes()
    PROGRAMS[program](person, series, folder)
    dropped = [folder / series.name / name for name in ("scan.bin", "deep/scan.bin")]
    drive.wait_imported(*dropped)
    for path in dropped:
        assert (fact(path, "owner"), fact(path, "actor")) == (alice.name, person.name)
        assert path.stat().st_uid == alice.uid
        assert path.stat().st_gid == LAB
        assert drive.original_of(path).is_relative_to(drive.home(alice))
        assert drive.original_of(path).stat().st_uid == alice.uid
    assert alice.do(dropped[1].read_bytes) == content
    if program in ("cp -p", "rsync -a", "tar x", "mv", "mkdir -p, install"):
        assert dropped[1].stat().st_mtime_ns == 10**18


def test_the_owner_goes_on_with_it(drive: Administered, staff: Staff, folder: Path) -> None:
    """Directories and drops that somebody else has made in her directory are hers to use in every way."""
    made = folder / "made"
    staff.boss.do(os.mkdir, made, 0o700)
    set_on(staff.alice, made, "policy", {"settle_seconds": 86400})
    path = drop(staff.boss, made / "drop.bin")
    staff.alice.do(path.write_bytes, b"written again")
    staff.alice.do(os.rename, path, made / "renamed.bin")
    staff.alice.do(os.setxattr, made / "renamed.bin", "user.note", b"mine")
    drop(staff.alice, made / "hers.bin")
    staff.alice.run("rm", "-r", made)


def test_a_mode_of_zero_shuts_the_owner_out_of_nothing(drive: Administered, staff: Staff, folder: Path) -> None:
    """ "Both have every right to it", whatever mode the maker has set."""
    set_on(staff.alice, folder, "policy", {"settle_seconds": 86400})
    path = drop(staff.boss, folder / "drop.bin")
    staff.boss.do(os.chmod, path, 0)
    assert staff.alice.do(path.read_bytes)
    staff.alice.do(os.unlink, path)


@pytest.mark.parametrize(("who", "options"), [("alice", "-a"), ("boss", "-rt"), ("root", "-rt")])
def test_rsync_again_has_nothing_to_do(drive: Administered, staff: Staff, folder: Path, who: str, options: str) -> None:
    """After it was imported: nothing is transferred, and nothing fails.

    Not with -a by whoever has put it into another's directory: nobody sets the mode, group and owner of what is
    somebody else's by now.
    """
    person = staff.named(who)
    series = make_series(person, drive.outside)
    person.run("rsync", options, series, folder)
    drive.wait_imported(folder / series.name / "scan.bin", folder / series.name / "deep" / "scan.bin")
    done = person.run("rsync", options, "--stats", series, folder, check=False)
    assert "Number of regular files transferred: 0" in done.stdout
    assert done.returncode == 0, done.stderr


def test_rsync_by_root_of_what_is_somebody_elses(drive: Administered, staff: Staff, folder: Path) -> None:
    """Root's rsync -a, cp -a and tar give files and directories the owners that the source has."""
    series = make_series(Person("operator", 61077, 61077), drive.outside)
    ROOT.run("rsync", "-a", series, folder)
    ROOT.run("cp", "-a", series, folder / "copy")
    paths = [folder / series.name / "scan.bin", folder / "copy" / "deep" / "scan.bin"]
    drive.wait_imported(*paths)
    assert {path.stat().st_uid for path in paths} == {staff.alice.uid}
    assert {fact(path, "actor") for path in paths} == {"root"}


# --- who did it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["boss", "deputy", "sudo", "root"])
def test_the_log_and_the_command_name_both(drive: Administered, staff: Staff, folder: Path, who: str) -> None:
    person = staff.named(who)
    path = drop(person, folder / "scan.bin")
    drive.wait_imported(path)
    log = (drive.mountpoint / str(fact(path, "log"))).read_text()
    assert staff.alice.name in log
    assert person.name in log
    shown = drive.show(path)
    assert (shown["owner"], shown["actor"]) == (staff.alice.name, person.name)
    fileset = drive.show(str(fact(path, "fileset")))
    assert (fileset["owner_uid"], fileset["actor_uid"]) == (staff.alice.uid, person.uid)


def test_her_own_is_hers_by_both_names(drive: Administered, staff: Staff, folder: Path) -> None:
    path = drop(staff.alice, folder / "scan.bin")
    drive.wait_imported(path)
    assert fact(path, "owner") == fact(path, "actor") == staff.alice.name


def test_datasets_that_it_makes_are_the_owners(drive: Administered, staff: Staff, folder: Path) -> None:
    scan = drive.outside / "scan.tif"
    tifffile.imwrite(scan, np.zeros((3, 32, 40), np.uint16), photometric="minisblack")
    scan.chmod(0o644)
    set_on(staff.boss, folder, "target", "Dataset:name:Made by boss")
    path = drop(staff.boss, folder / "scan.tif", scan.read_bytes())
    drive.wait_imported(path)
    [dataset] = described(drive, staff.alice, fact(path, "fileset"))["datasets"]
    assert described(drive, staff.alice, dataset["object"])["owner_uid"] == staff.alice.uid
    assert described(drive, staff.alice, str(fact(path, "images")))["owner_uid"] == staff.alice.uid


def test_the_audit_trail_names_who_did_it(drive: Administered, staff: Staff, folder: Path) -> None:
    path = drop(staff.boss, folder / "scan.bin")
    drive.wait_imported(path)

    def told() -> list[dict[str, object]]:
        lines = [json.loads(line) for line in drive.command("audit", "--json").splitlines()]
        return [one for one in lines if one["actor_uid"] == staff.boss.uid and folder.name in str(one["path"])]

    until(told, "the audit trail tells of it", 10.0)


def test_a_quiet_time_that_outlasts_her_right(drive: Administered, staff: Staff, folder: Path) -> None:
    """What was put there with the right to do so is imported, though she is no owner of the group any more."""
    set_on(staff.alice, folder, "policy", {"settle_seconds": 86400})
    path = drop(staff.deputy, folder / "scan.bin")
    drive.add_member("lab", staff.deputy)
    try:
        assert staff.deputy.do(answer, os.open, path, os.O_WRONLY) == "EACCES"
        set_on(staff.alice, path, "import", "now")
        drive.wait_imported(path)
        assert fact(path, "actor") == staff.deputy.name
    finally:
        drive.add_member("lab", staff.deputy, owner=True)


# --- who may not ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_the_others_are_refused_at_create_and_leave_nothing(
    drive: Administered, staff: Staff, folder: Path, number: int
) -> None:
    """A member of the read-write group, a stranger, and administrators with every privilege but Sudo."""
    person = staff.powerless[number]
    mine = drop(staff.alice, folder / "hers.bin")
    drive.wait_imported(mine)
    before = [sorted(os.walk(drive.home(staff.alice))), len(drive.originals()), mine.stat()]
    source = make_series(person, drive.outside)
    for words in (
        ("cp", source / "scan.bin", folder),
        ("cp", "-p", source / "scan.bin", folder),
        ("cp", source / "scan.bin", mine),
        ("rsync", "-a", f"{source}/", folder),
        ("mkdir", "-p", folder / "a" / "b"),
        ("tar", "-xf", packed(person, source), "-C", folder),
        ("install", source / "scan.bin", folder),
        ("mv", source / "scan.bin", folder),
        ("ln", "-s", "/etc/passwd", folder / "link"),
        ("touch", folder / "new"),
    ):
        done = person.run(*words, check=False)
        assert done.returncode != 0, words
        # to who may annotate it, an original says that it is one
        refusal = "not permitted" if words[-1] == mine else "denied"
        assert "denied" in done.stderr or refusal in done.stderr, (words, done.stderr)
    new = folder / "new"
    assert person.do(answer, os.open, new, os.O_WRONLY | os.O_CREAT, 0o666) == "EACCES"
    assert person.do(answer, os.mkdir, new) == "EACCES"
    assert person.do(answer, os.mkfifo, new) in ("EACCES", "EPERM")  # which nobody makes
    assert before == [sorted(os.walk(drive.home(staff.alice))), len(drive.originals()), mine.stat()]


def test_a_directory_kept_open_helps_nobody(drive: Administered, staff: Staff, folder: Path) -> None:
    """By openat and /proc/self/fd too, from a directory that a member may see."""
    with companion(staff.powerless[0]) as member:
        fd = member.do(os.open, folder, os.O_RDONLY | os.O_DIRECTORY)
        assert member.answer(os.open, "new", os.O_WRONLY | os.O_CREAT, 0o666, dir_fd=fd) == "EACCES"
        assert member.answer(os.mkdir, f"/proc/self/fd/{fd}/new") == "EACCES"
    assert os.listdir(folder) == []
