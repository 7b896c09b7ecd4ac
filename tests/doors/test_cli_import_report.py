"""What `repofs import` shows: lines, a bar, and one sentence about what went wrong; names may hold anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from repofs.cli import import_report
from repofs.cli.exit_codes import ImportCode
from repofs.cli.importing import Job, Plan, Report, Wanted, exit_code
from repofs.config import Readers
from repofs.formats.candidates import Candidate, LeftOut

WANTED = Wanted(b"/x", "upload", None, None, None, None, (), (), None, 4)
EVIL = b"/x/a\n\x1b[31m\xff.tif"
MADE = {"import_directory": "alice_2/2026-11/22/21-15-03.123"}
IMPORTED = Report(
    b"/x/a.tif",
    "imported",
    None,
    {"fileset": 17, "images": [101, 102], "originals": [5], "source": "kept", "size": 42, **MADE},
)
NO_IMAGE = Report(b"/x/b.txt", "imported", None, {"fileset": 18, "images": [], "source": "removed", **MADE})
STUCK = Report(b"/x/c.tif", "imported", None, {"fileset": 19, "images": [], "source": "kept: no right", **MADE})
FAILED = Report(EVIL, "failed", "it is\nbroken")
REPORTS = [IMPORTED, NO_IMAGE, STUCK, FAILED]


def plan(*sizes: int) -> Plan:
    jobs = [Job(WANTED, Candidate(b"/x", b"%d" % size, (b"%d" % size,), size), None) for size in sizes]
    return Plan(jobs, [LeftOut(EVIL, "a symbolic link")], [])


def test_lines_are_one_each_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    with import_report.lines(plan(1)) as done:
        for report in REPORTS:
            done(report, 1)
    assert capsys.readouterr().out.splitlines() == [
        r"left out: /x/a\n\x1b[31m\udcff.tif: a symbolic link",
        "imported: /x/a.tif: Fileset:17, Image:101, Image:102",
        "imported: /x/b.txt: Fileset:18",
        "imported: /x/c.tif: Fileset:19: the source could not be removed (kept: no right)",
        r"failed: /x/a\n\x1b[31m\udcff.tif: it is\nbroken",
    ]


@pytest.mark.parametrize("sizes", [(4 << 20, 8 << 20), (0,)])
def test_a_bar_counts_filesets_and_bytes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    with import_report.bar(plan(*sizes)) as done:
        for size in sizes:
            done(IMPORTED, size)
    drawn = capsys.readouterr()
    assert f"{len(sizes)} of {len(sizes)} filesets" in drawn.err
    assert "Fileset:17" in drawn.err and "\x1b[31m\udcff" not in drawn.err
    assert drawn.out == ""
    if sum(sizes):
        assert "12.0/12.0 MiB" in drawn.err


def test_ids_are_omeros(capsys: pytest.CaptureFixture[str]) -> None:
    others = (Report(b"/x/d", "duplicate", "…", {"fileset": 1}), Report(b"/x/a.ids", "imported", None, {"fileset": 17}))
    import_report.print_ids([*REPORTS, *others])
    assert capsys.readouterr().out.splitlines() == ["Image:101,102", "Fileset:18", "Fileset:19"]


def test_json_and_yaml_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    import_report.print_reports_json(REPORTS)
    as_json = json.loads(capsys.readouterr().out)
    import_report.print_reports_yaml(REPORTS)
    assert yaml.safe_load(capsys.readouterr().out.replace("\\uDCFF", "ÿ")) is not None
    assert (as_json[0]["fileset"], as_json[0]["images"]) == ("Fileset:17", ["Image:101", "Image:102"])
    assert as_json[0]["originals"] == ["OriginalFile:5"]
    assert as_json[3]["path"].encode("utf-8", "surrogateescape") == EVIL
    assert as_json[3]["error"] == "it is\nbroken"


def test_a_summary_is_one_line_and_none_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    import_report.print_summary([IMPORTED, NO_IMAGE, Report(b"/x/d", "duplicate", "known")])
    assert capsys.readouterr().err == ""
    import_report.print_summary([*REPORTS, Report(b"/x/d", "duplicate", "known")])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("repofs: 1 duplicate, 1 failed, 3 imported; the first: imported: /x/c.tif")


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ([], ImportCode.DONE),
        ([IMPORTED, NO_IMAGE, Report(b"/x", "duplicate"), Report(b"/x", "queued")], ImportCode.DONE),
        ([IMPORTED, STUCK], ImportCode.SOURCE_KEPT),
        ([STUCK, FAILED], ImportCode.FAILED),
    ],
)
def test_the_exit_code_is_that_of_the_worst(reports: list[Report], code: ImportCode) -> None:
    assert exit_code(reports) is code


def test_a_plan_lists_filesets_with_their_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    directory = os.fsencode(tmp_path)
    (tmp_path / "p.zarr").mkdir()
    for chunk in ("0", "1"):
        (tmp_path / "p.zarr" / chunk).touch()
    candidate = Candidate(directory, b"p.zarr", (b"p.zarr/0", b"p.zarr/1"), 2, is_directory=True)
    import_report.print_plan(Plan([Job(WANTED, candidate, None)], [], [FAILED]), Readers(workers=1))
    told = capsys.readouterr()
    group = f"# Group: {tmp_path}/p.zarr Reader: - Images: 0\n{tmp_path}/p.zarr/0\n{tmp_path}/p.zarr/1\n"
    assert told.out.endswith(group)
    assert "failed: " in told.err
