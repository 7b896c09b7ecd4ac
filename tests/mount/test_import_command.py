"""`repofs import` from directories outside the mount: by hand, by cron, for others; as real users, in a real mount."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.import_command import Run, imports, original, started, told
from tests.helpers.mounting import QUICK, REPOFS, Drive, fact, facts
from tests.helpers.people import ALICE, BOB, CAROL, ROOT, Person
from tests.helpers.waiting import until

SETTINGS = (
    QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n[[administrators]]\ngroup = "root"\nprivileges = []\n'
)
CONTENT = b"what the microscope saw\n" * 1000
COPIES = ["upload", "cp"]
IN_PLACE = ["ln", "ln_s"]
REMOVING = ["upload_rm", "cp_rm", "ln_rm"]


@pytest.fixture
def run(outside: Path, request: pytest.FixtureRequest) -> Path:
    """A directory of Alice's beside the mount."""
    path = outside / request.node.name.replace("[", "-").strip("]")
    ALICE.do(os.mkdir, path)
    return path


def put(path: Path, content: bytes | None = None, person: Person = ALICE) -> Path:
    """Let *person* make a file of bytes that no other file has, unless *content* says which."""
    person.do(Path.write_bytes, path, os.urandom(16) + CONTENT if content is None else content)
    return path


def names(run: Path) -> list[str]:
    return sorted(os.listdir(run))


# --- the scenarios of OMERO's documentation ---------------------------------------------------------


@pytest.mark.parametrize("transfer", COPIES)
def test_manual_import_cli(drive: Drive, run: Path, transfer: str) -> None:
    scan, content = put(run / "scan.bin"), (run / "scan.bin").read_bytes()
    report = told(drive, ALICE, "--transfer", transfer, scan)
    copy = original(drive, report, "scan.bin")
    assert ALICE.do(Path.read_bytes, copy) == content == scan.read_bytes()
    assert (facts(copy)["transfer"], facts(copy)["fileset"]) == (transfer, report["fileset"])
    assert (copy.stat().st_uid, copy.stat().st_ino != scan.stat().st_ino) == (ALICE.uid, True)
    assert (report["source"], report["size"], report["checksum"]) == ("kept", len(content), fact(copy, "checksum"))
    assert "arrived from" in (drive.mountpoint / report["log"]).read_text()
    again = imports(drive, ALICE, "--transfer", transfer, "--output", "json", scan)
    assert (again.code, again.report["state"], again.report["fileset"]) == (0, "duplicate", report["fileset"])
    ALICE.do(os.unlink, scan)
    assert ALICE.do(Path.read_bytes, copy) == content


@pytest.mark.parametrize("transfer", IN_PLACE)
def test_inplace_manual_cli(drive: Drive, run: Path, transfer: str) -> None:
    scan, content = put(run / "scan.bin"), (run / "scan.bin").read_bytes()
    report = told(drive, ALICE, "--transfer", transfer, run)
    link = original(drive, report, "scan.bin")
    assert ALICE.do(Path.read_bytes, link) == content
    assert facts(link)["transfer"] == transfer
    assert drive.backing(link).stat().st_blocks * 512 < len(content)
    assert told(drive, ALICE, "--transfer", transfer, run)["state"] == "duplicate"
    assert (report["source"], scan.read_bytes()) == ("kept", content)


def test_cron_import_manual_delete(drive: Drive, run: Path) -> None:
    contents = {name: put(run / name).read_bytes() for name in ("a.bin", "b.bin", "c.bin")}
    twice = [started(drive, ALICE, "--quiet", "-T", f"Dataset:name:{run.name}", run) for _ in range(2)]
    assert [(job.communicate(timeout=110), job.returncode) for job in twice] == [((b"", b""), 0)] * 2
    copies = {one["checksum"]: one for one in drive.originals() if Path(str(one["path"])).name in contents}
    assert len(copies) == 3  # each once
    for name in contents:
        ALICE.do(os.unlink, run / name)
    assert imports(drive, ALICE, "--quiet", run) == Run(0, "", "")
    for one in copies.values():
        copy = drive.mountpoint / str(one["import_path"])
        assert ALICE.do(Path.read_bytes, copy) == contents[copy.name]


@pytest.mark.parametrize("transfer", REMOVING)
def test_inplace_cron(drive: Drive, run: Path, transfer: str) -> None:
    contents = {name: put(run / name).read_bytes() for name in ("a.bin", "b.bin")}
    put(run / "c.bin.part")
    assert imports(drive, ALICE, "--quiet", "--transfer", transfer, run) == Run(0, "", "")
    assert names(run) == ["c.bin.part"]
    for name, content in contents.items():
        [copy] = [one for one in drive.originals() if str(one["path"]).endswith(name) and _holds(drive, one, content)]
        assert facts(drive.mountpoint / str(copy["import_path"]))["transfer"] == transfer
    assert imports(drive, ALICE, "--quiet", "--transfer", transfer, run) == Run(0, "", "")


def _holds(drive: Drive, one: dict[str, object], content: bytes) -> bool:
    return (drive.mountpoint / str(one["import_path"])).read_bytes() == content


def test_cron_import_as(drive: Drive, run: Path) -> None:
    scan = put(run / "scan.bin")
    scan.chmod(0o600)
    report = told(drive, ROOT, "--as", "alice", scan)
    copy = original(drive, report, "scan.bin")
    assert copy.stat().st_uid == ALICE.uid
    assert (facts(copy)["owner"], facts(copy)["actor"]) == ("alice", "root")
    put(run / "second.bin", person=ROOT)
    assert imports(drive, ROOT, "--as", "alice", "--quiet", run) == Run(0, "", "")
    refused = imports(drive, BOB, "--as", "alice", "--quiet", put(run.parent / "bobs.bin", person=BOB))
    assert (refused.code, refused.out) == (2, "")
    [line] = refused.err.splitlines()
    assert "1 failed" in line and "bob may not put files here" in line
    [row] = json.loads("[" + audit(drive, "--user", str(BOB.uid)).replace("\n", ",").rstrip(",") + "]")
    assert row["act"] == "import-as" and row["refusal"]


def audit(drive: Drive, *options: str) -> str:
    def lines() -> str:
        done = ROOT.run(*REPOFS, "-C", drive.repository, "audit", "--json", *options)
        return done.stdout

    return until(lines, "the audit trail is written once a second")


# --- what OMERO deletes and never imported -----------------------------------------------------------


@pytest.mark.parametrize("transfer", REMOVING)
def test_a_target_that_cannot_be_loaded_keeps_the_source(drive: Drive, run: Path, transfer: str) -> None:
    scan = put(run / "scan.bin")
    failed = imports(drive, ALICE, "--transfer", transfer, "-T", "Dataset:99999", "--output", "json", scan)
    assert (failed.code, failed.report["state"], failed.report["source"]) == (2, "failed", "kept")
    assert "there is no Dataset:99999" in failed.report["error"]
    assert "1 failed" in failed.err
    assert scan.exists()
    assert "Dataset:99999" in (drive.mountpoint / failed.report["log"]).read_text()


@pytest.mark.parametrize("transfer", REMOVING)
def test_not_waiting_keeps_the_source_of_what_fails(drive: Drive, run: Path, transfer: str) -> None:
    good, bad = put(run / "good.bin"), put(run / "bad.bin")
    drive.allowed = ["an arrival failed"]
    options = ("--no-wait", "--transfer", transfer)
    assert "queued: " in imports(drive, ALICE, *options, "-T", "Dataset:99999", bad).out
    assert imports(drive, ALICE, *options, good).code == 0
    until(lambda: not good.exists(), "good.bin is imported and removed")
    until(lambda: any("an arrival failed" in line for line in drive.log.read_text().splitlines()), "bad.bin fails")
    assert bad.exists()


@pytest.mark.parametrize("transfer", REMOVING)
@pytest.mark.parametrize("how", ["filename", "clientpath", "content"])
def test_what_is_excluded_keeps_its_source(drive: Drive, run: Path, transfer: str, how: str) -> None:
    name = f"{transfer}-{how}.bin"
    first = told(drive, ALICE, put(run / name))
    if how != "content":
        put(run / name)  # other bytes
    excluded = imports(drive, ALICE, "--exclude", how, "--transfer", transfer, "--output", "json", run / name)
    assert (excluded.code, excluded.report["state"]) == (0, "duplicate")
    assert first["fileset"] in excluded.report["error"]
    assert (run / name).exists()
    if how != "content":
        assert told(drive, ALICE, "--transfer", transfer, run / name)["state"] == "imported"
        assert not (run / name).exists()


def test_the_name_or_path_of_another_is_no_reason_to_exclude(drive: Drive, run: Path) -> None:
    scan = put(run / "another.bin")
    assert told(drive, BOB, scan)["state"] == "imported"
    assert told(drive, ALICE, "--exclude", "filename", "--exclude", "clientpath", scan)["state"] == "imported"


# --- what is refused ----------------------------------------------------------------------------------


def test_a_source_that_cannot_be_read_fails_and_the_others_go_on(drive: Drive, run: Path) -> None:
    for name in ("a.bin", "closed.bin", "z.bin"):
        put(run / name)
    ALICE.do(os.mkdir, run / "closed")
    ALICE.do(os.symlink, "..", run / "loop")
    for closed in (run / "closed.bin", run / "closed"):
        os.chown(closed, CAROL.uid, CAROL.gid)
        closed.chmod(0o700)
    done = imports(drive, ALICE, "--output", "json", run, run / "vanished.bin")
    states = {Path(one["path"]).name: (one["state"], one["error"]) for one in done.reports}
    assert {name for name, (state, _) in states.items() if state == "imported"} == {"a.bin", "z.bin"}
    assert "may not read it" in states["closed.bin"][1] and "may not read it" in states["closed"][1]
    assert "not there" in states["vanished.bin"][1]
    assert done.code == 2


def test_the_daemon_reads_only_what_the_caller_may(drive: Drive, run: Path) -> None:
    secret = put(run / "secret.bin")
    secret.chmod(0o600)
    refused = told(drive, BOB, secret)
    assert refused["state"] == "failed" and f"uid {BOB.uid} may not read it" in refused["error"]
    group = Person("helper", BOB.uid, BOB.gid, (ALICE.gid + 5,))
    os.chown(secret, ALICE.uid, ALICE.gid + 5)
    secret.chmod(0o640)
    assert told(drive, group, secret)["state"] == "imported"  # by a group of the process, whatever the accounts say


@pytest.mark.parametrize(
    ("options", "word", "instead"),
    [
        (("--transfer", "ln"), "--transfer ln", "use --transfer upload"),
        (("--transfer", "upload_rm"), "upload_rm", "use --transfer upload"),
        (("--no-wait",), "--no-wait", "leave out --no-wait"),
    ],
)
def test_what_must_be_found_again_lies_in_a_declared_source(
    drive: Drive, options: tuple[str, ...], word: str, instead: str
) -> None:
    place = drive.outside.parent / f"undeclared-{word.strip('-').replace(' ', '-')}"
    place.mkdir()
    place.chmod(0o777)
    scan = put(place / "scan.bin")
    refused = imports(drive, ALICE, *options, scan)
    assert refused.code == 2
    assert "in no declared source" in refused.out and word in refused.out and instead in refused.out
    assert scan.exists()
    assert told(drive, ALICE, scan)["state"] == "imported"


def test_a_source_that_may_not_be_removed_is_kept_and_said_so(drive: Drive, run: Path) -> None:
    scan = put(run / "scan.bin")
    run.chmod(0o555)
    drive.allowed = ["a source is kept"]
    kept = imports(drive, BOB, "--transfer", "upload_rm", "--output", "json", scan)
    assert (kept.code, kept.report["state"]) == (3, "imported")
    assert "may not remove it" in kept.report["source"] and "could not be removed" in kept.err
    assert scan.exists()


@pytest.mark.parametrize(
    "line",
    [
        "", "--bogus", "-T Screen:1 x", "-T Project:3 x", "-T regex:( x", "--depth 0 x", "--exclude size x",
        "--bulk x.yml x", "--bulk nowhere.yml", "--skip checksums x", "--transfer mv x", "--checksum-algorithm SHA-1 x",
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_omeros_code_1(drive: Drive, line: str) -> None:
    done = imports(drive, ALICE, *line.split())
    assert (done.code, done.out) == (1, "") and done.err


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--as", "nobody-of-the-lab"), "is no experimenter"),
        (("--group", "nowhere"), "is no group"),
        (("--group", "elsewhere"), "not a group that its owner is in"),
        (("-T", "regex:/nowhere/(?<Container1>.*)"), "finds no Container1"),
    ],
)
def test_what_the_daemon_refuses_fails_with_its_reason(
    drive: Drive, run: Path, options: tuple[str, ...], reason: str
) -> None:
    failed = imports(drive, ALICE, *options, "--output", "json", put(run / "scan.bin"))
    assert failed.code == 2 and reason in failed.report["error"]


def test_who_is_no_experimenter_imports_nothing(drive: Drive, run: Path) -> None:
    eve = Person("eve", 61077, 61077)
    assert "no experimenter" in told(drive, eve, put(run / "scan.bin"))["error"]
    assert "name with --as" in told(drive, ROOT, run / "scan.bin")["error"]


def test_what_lies_in_the_mount_is_imported_there(drive: Drive, folder: Path) -> None:
    put(folder / "scan.bin")
    done = imports(drive, ALICE, folder / "scan.bin")
    assert done.code == 2 and "lies in a repofs mount" in done.out


def test_without_a_daemon_there_is_no_import(drive: Drive, run: Path) -> None:
    scan = put(run / "scan.bin")
    repository = drive.outside.parent / "unmounted"
    ROOT.run(*REPOFS, "init", repository)
    done = ALICE.run(*REPOFS, "-C", repository, "import", scan, check=False)
    assert done.returncode == 2 and "is not mounted" in done.stderr


# --- options -----------------------------------------------------------------------------------------


def test_a_dry_run_prints_filesets_and_imports_none(drive: Drive, run: Path) -> None:
    put(run / "scan.bin")
    put(run / "odd\nname.bin")
    ALICE.do(os.makedirs, run / "p.zarr" / "0")
    put(run / "p.zarr" / "0" / "0")
    put(run / "Thumbs.db")
    before = len(drive.originals())
    done = imports(drive, ALICE, "-f", "-T", "Dataset:-name:X", run)
    assert done.code == 0
    assert f"# Group: {run}/p.zarr Reader: - Images: 0 Target: Dataset:-name:X\n{run}/p.zarr/0/0\n" in done.out
    assert f"# Group: {run}/odd\\nname.bin" in done.out
    assert f"# left out: {run}/Thumbs.db: excluded by the settings" in done.out
    assert len(drive.originals()) == before


def test_a_directory_format_is_one_fileset(drive: Drive, run: Path) -> None:
    def make() -> None:
        for chunk in ("0/0", "0/1", ".zattrs"):
            path = run / "plate.zarr" / chunk
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(100))

    ALICE.do(make)
    report = told(drive, ALICE, "--transfer", "ln_rm", run)
    assert (len(report["originals"]), report["size"], report["source"]) == (3, 300, "removed")
    for chunk in ("0/0", "0/1", ".zattrs"):
        assert (original(drive, report, "plate.zarr") / chunk).stat().st_size == 100
        assert not (run / "plate.zarr" / chunk).exists()


def test_what_is_skipped_is_recorded(drive: Drive, run: Path, scan: Path) -> None:
    put(run / "a.tif", scan.read_bytes() + b"skipped")
    report = told(drive, ALICE, "--skip", "all", run / "a.tif")
    assert show(drive, report["fileset"])["skipped"] == "thumbnails,minmax,checksum"
    assert show(drive, report["images"][0])["thumbnail"] == "skipped"


def test_images_go_into_the_target_under_the_name_that_was_asked_for(drive: Drive, run: Path, scan: Path) -> None:
    target = f"Project:name:{run.name}/Dataset:@name:day 1"
    report = told(drive, ALICE, "-T", target, "--name", "control", scan)
    image = show(drive, report["images"][0])
    assert image["name"] == "control"
    [dataset] = image["datasets"]
    assert (dataset["name"], [one["name"] for one in dataset["projects"]]) == ("day 1", [run.name])


def test_all_of_one_command_go_into_the_new_dataset(drive: Drive, run: Path, scan: Path) -> None:
    for number in range(3):
        put(run / f"{number}.tif", scan.read_bytes() + b"%d" % number)
    found = []
    for _ in range(2):
        done = imports(drive, ALICE, "-T", f"Dataset:@name:new-{run.name}", "--output", "json", run)
        images = [image for one in done.reports for image in one["images"]]
        found.append({show(drive, image)["datasets"][0]["object"] for image in images})
        for number in range(3):
            put(run / f"{number}.tif", scan.read_bytes() + b"again %d" % number)
    assert [len(datasets) for datasets in found] == [1, 1] and found[0] != found[1]


def show(drive: Drive, what: str) -> dict[str, Any]:
    return dict(json.loads(os.getxattr(drive.mountpoint, f"user.repofs.{what}")))


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("ids", lambda text: text.splitlines()),
        ("json", json.loads),
        ("yaml", yaml.safe_load),
    ],
)
def test_output_for_programs(
    drive: Drive, run: Path, scan: Path, output: str, read: Callable[[str], list[object]]
) -> None:
    put(run / "a.tif", scan.read_bytes() + output.encode())
    done = imports(drive, ALICE, "--output", output, run / "a.tif", put(run / "b.bin"))
    first, second = read(done.out) if output == "ids" else [one["images"] or one["fileset"] for one in read(done.out)]
    assert {str(first)[:6], str(second)[:6]} & {"Filese"}
    assert done.err == ""


def test_a_bulk_file(drive: Drive, run: Path) -> None:
    for number in range(3):
        put(run / f"{number}.bin")
    put(run / "files.tsv", b"Dataset:name:one\t0.bin\nDataset:name:two\t1.bin\n")
    put(run / "bulk.yml", b"include: usual.yml\npath: files.tsv\ncolumns: [target, path]\nparallel_fileset: 2\n")
    put(run / "usual.yml", b"---\ntransfer: ln_s\ncontinue: true\nexclude: clientpath\n")
    done = imports(drive, ALICE, "--bulk", run / "bulk.yml", "--output", "json")
    assert (done.code, sorted(Path(one["path"]).name for one in done.reports)) == (0, ["0.bin", "1.bin"])
    assert {fact(original(drive, one, Path(one["path"]).name), "transfer") for one in done.reports} == {"ln_s"}


def test_an_unknown_key_of_a_bulk_file_is_named_with_its_line(drive: Drive, run: Path) -> None:
    put(run / "bulk.yml", b"path: files.txt\n\ntransfers: ln\n")
    done = imports(drive, ALICE, "--bulk", run / "bulk.yml")
    assert done.code == 1
    assert f"{run}/bulk.yml, line 3: transfers is no key" in done.err


def test_one_command_imports_many_at_a_time(drive: Drive, run: Path) -> None:
    for number in range(40):
        put(run / f"{number:02d}.bin", b"%d" % number * 100)
    put(run / "same.bin", b"7" * 100)  # of the bytes of 07.bin, at the same moment
    done = imports(drive, ALICE, "--parallel", "20", "--output", "json", run)
    states = [one["state"] for one in done.reports]
    assert (done.code, states.count("imported"), states.count("duplicate")) == (0, 40, 1)
