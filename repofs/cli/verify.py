"""repofs verify: are the originals what they were?"""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import amounts, location
from repofs.cli.audit import below_mount, object_of
from repofs.cli.exit_codes import ExitCode
from repofs.cli.findings import Report, recording
from repofs.cli.output import AsJson
from repofs.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    from repofs.catalog.engine import Engine
    from repofs.catalog.originals import Held
    from repofs.catalog.verification import Which
    from repofs.inspection.verify import Verifier
    from repofs.repository.layout import Layout

_NICENESS = 19


def verify(
    context: typer.Context,
    what: Annotated[
        str | None, typer.Argument(metavar="[Fileset:N|OriginalFile:N|PATH]", help="Only this; else all originals.")
    ] = None,
    path: Annotated[str | None, typer.Option(metavar="PATH", help="Only what lies there or below.")] = None,
    sample: Annotated[str | None, typer.Option(metavar="N|N%", help="Only so many, drawn at random.")] = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="Only what was not verified since: 30d, 2026-11-22.")
    ] = None,
    budget: Annotated[str | None, typer.Option(metavar="RATE", help="Read no faster: 100MB/s.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no bytes: see whether files are there, and sources the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare originals with their checksums."""
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    before, rate = _before(older_than), None if budget is None else amounts.rate(budget)
    options = _Options(_which(what, path, layout.root), before, sample, rate, quick)
    report = Report(as_json=as_json, well="as imported")
    os.nice(_NICENESS)
    left = _run(layout, options, report, drawn=sys.stderr.isatty() and not as_json and not quick)
    if left is not None:
        print(f"stopped after {report.count:,} of {report.count + left:,} files", file=sys.stderr)
        if not quick:  # which writes nowhere what it has passed
            print(f"to go on: {options.going_on(layout.root, left, budget)}", file=sys.stderr)
        raise typer.Exit(ExitCode.INTERRUPTED)
    report.end()


def _run(layout: Layout, options: _Options, report: Report, *, drawn: bool) -> int | None:
    """Look at all that is wanted; return how many files were left when Ctrl-C came, None when it did not come."""
    from repofs.cli.repository import catalogue
    from repofs.cli.verify_progress import bar, silent
    from repofs.config import load
    from repofs.inspection.verify import Verifier
    from repofs.repository.gently import idle_priority

    with catalogue(layout) as engine, catalogue(layout, read_only=True) as reading, idle_priority():
        part = _part(options, reading)
        with bar(part.files, part.size) if drawn else silent() as drawing:
            verifier = Verifier(layout, load(layout.root), recording(layout, engine), options.rate, drawing.read)
            with _stopped_by_ctrl_c(verifier):
                for finding in verifier.verify(part.held, quick=options.quick):
                    drawing.done()
                    report.add(finding)
    return part.files - report.count if verifier.stopped else None


@contextmanager
def _stopped_by_ctrl_c(verifier: Verifier) -> Iterator[None]:
    """Let Ctrl-C stop *verifier* in good order; a second one ends the command as usual."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        verifier.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True, slots=True)
class _Options:
    which: Which
    before: datetime
    sample: str | None
    rate: float | None  # bytes per second
    quick: bool

    def named(self) -> str:
        """Return what was asked for, as a word of the command line."""
        return os.fsdecode(self.which) if isinstance(self.which, bytes) else str(self.which)

    def going_on(self, root: Path, left: int, budget: str | None) -> str:
        """Return the command that does the rest: what was not verified since this one began."""
        words = ["repofs", "-C", str(root), "verify"]
        words += [] if self.which is None else [self.named()]
        words += ["--older-than", self.before.isoformat(timespec="milliseconds")]
        words += ["--sample", str(left)] if self.sample is not None else []
        words += ["--budget", budget] if budget is not None else []
        return shlex.join(words)


@dataclass(frozen=True, slots=True)
class _Part:
    """What is to be looked at."""

    files: int
    size: int  # bytes
    held: Iterator[Held]


def _part(options: _Options, reading: Engine) -> _Part:
    from repofs.catalog import verification
    from repofs.catalog.forms import iso
    from repofs.inspection.verify import due, these

    before = iso(options.before)
    with reading.begin() as conn:
        if not verification.has_originals(conn, options.which):  # else a slip of the pen were told to be well
            raise NotFound(f"{options.named()} has no originals: repofs originals lists all")
        files, size = verification.total(conn, options.which, before)
    if options.sample is None:
        return _Part(files, size, due(reading, options.which, before))
    count = amounts.share(options.sample, files)
    with reading.begin() as conn:
        drawn = verification.sample(conn, options.which, before, count)
    return _Part(len(drawn), size * len(drawn) // max(files, 1), these(reading, drawn))


def _before(older_than: str | None) -> datetime:
    now = datetime.now(UTC)
    return now if older_than is None else amounts.moment(older_than, now)


def _which(what: str | None, path: str | None, root: Path) -> Which:
    if what is not None and path is not None:
        raise InvalidValue(f"{what} and --path {path}: name one of the two")
    if what is None:
        return None if path is None else below_mount(path, root)
    which = object_of(what) or below_mount(what, root)
    if not isinstance(which, bytes) and which.kind not in ("Fileset", "OriginalFile"):
        raise InvalidValue(f"{which} has no files of its own: name a Fileset, an OriginalFile or a path")
    return which
