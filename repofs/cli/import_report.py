"""How far an import has come, and what became of it: for people while it goes on, for programs at its end."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from repofs.cli.importing import Done, Plan, Report
from repofs.cli.output import cell, print_json
from repofs.config import Readers
from repofs.lifecycle import State
from repofs.model import KEPT, REMOVED


@contextmanager
def silent(plan: Plan) -> Iterator[Done]:
    """Show nothing."""
    yield lambda report, size: None


@contextmanager
def lines(plan: Plan) -> Iterator[Done]:
    """Print a line for each fileset, and for each file that is left out."""
    for one in plan.left_out:
        print(f"left out: {_shown(one.path)}: {one.why}")
    yield lambda report, size: print(line(report), flush=True)


@contextmanager
def bar(plan: Plan) -> Iterator[Done]:
    """Draw files, bytes, rate and time left on the terminal, the lines above it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn("{task.fields[files]}"), BarColumn(), DownloadColumn(binary_units=True))
    with Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        total = len(plan.jobs)
        task = progress.add_task("import", total=plan.size or 1, files=f"0 of {total} filesets")
        count = 0
        for one in plan.left_out:
            progress.console.print(f"left out: {_shown(one.path)}: {one.why}", markup=False, highlight=False)

        def done(report: Report, size: int) -> None:
            nonlocal count
            count += report.path not in problems
            progress.console.print(line(report), markup=False, highlight=False)
            progress.update(task, advance=size, files=f"{count} of {total} filesets")

        problems = {report.path for report in plan.problems}
        yield done
        if not plan.size:
            progress.update(task, completed=1)


def line(report: Report) -> str:
    """Return what became of one fileset as a line of text."""
    words = [f"{report.state}: {_shown(report.path)}"]
    if report.state == State.IMPORTED:
        words.append(", ".join([str(report.fileset), *(f"Image:{number}" for number in report.images)]))
    if report.error:
        words.append(cell(report.error))
    if report.source not in (KEPT, REMOVED):
        words.append(f"the source could not be removed ({cell(report.source)})")
    return ": ".join(words)


def print_plan(plan: Plan, settings: Readers) -> None:
    """Print the filesets that would be made, as OMERO's `import -f` does, and what would not."""
    from repofs.cli import filesets
    from repofs.cli.candidates import progress

    targets = {job.candidate.path: job.target for job in plan.jobs}
    with progress(len(plan.jobs)) as looked:
        made = filesets.group([job.candidate for job in plan.jobs], settings, looked)
    for fileset in made:
        main, found = fileset.candidates[0], fileset.recognised
        goal = f" Target: {cell(targets[main.path])}" if targets[main.path] else ""
        print("#======================================")
        print(f"# Group: {_shown(main.path)} Reader: {cell(found.format)} Images: {len(found.images)}{goal}")
        for path in fileset.files:
            print(_shown(path))
        if fileset.missing:
            print(f"# missing: {', '.join(map(cell, fileset.missing))}")
    for one in plan.left_out:
        print(f"# left out: {_shown(one.path)}: {one.why}")
    for report in plan.problems:
        print(line(report), file=sys.stderr)


def print_ids(reports: Iterable[Report]) -> None:
    """Print the images of each new fileset in a line, ``Image:101,102``; one without images as ``Fileset:17``."""
    for report in reports:
        if report.is_new:
            images = ",".join(map(str, report.images))
            print(f"Image:{images}" if images else report.fileset)


def print_reports_json(reports: Iterable[Report]) -> None:
    print_json([report.facts() for report in reports])


def print_reports_yaml(reports: Iterable[Report]) -> None:
    import yaml

    print(yaml.safe_dump([report.facts() for report in reports], explicit_start=True, sort_keys=False), end="")


def print_summary(reports: Iterable[Report]) -> None:
    """Print, on stderr, one line of what went wrong: how many, and the first of them. Nothing when all is well."""
    told = list(reports)
    wrong = [one for one in told if one.state == State.FAILED or one.source not in (KEPT, REMOVED)]
    if wrong:
        counts = Counter(one.state for one in told)
        states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        print(f"repofs: {states}; the first: {line(wrong[0])}", file=sys.stderr)


def _shown(path: bytes) -> str:
    return cell(os.fsdecode(path))
