"""repofs fsck: do catalogue and tree agree?"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import location, rebuilding
from repofs.cli.exit_codes import FsckCode, report
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import Busy, Unreachable

if TYPE_CHECKING:
    from repofs.catalog.engine import Engine
    from repofs.config import Settings
    from repofs.inspection.fsck.findings import Result
    from repofs.inspection.fsck.subject import Subject
    from repofs.repository.layout import Layout


def fsck(
    context: typer.Context,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; not while it is mounted.")] = False,
    rebuild_catalogue: Annotated[
        bool, typer.Option("--rebuild-catalogue", help="Make the catalogue anew from the files; the old one is kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the catalogue with the files, both ways."""
    try:
        code = FsckCode.CLEAN
        if rebuild_catalogue:
            code |= rebuilding.rebuild_catalogue(location.repository(context), as_json=as_json)
        if repair or not rebuild_catalogue:
            code |= _check(context, repair=repair, as_json=as_json)
    except KeyboardInterrupt:
        code = FsckCode.CANCELLED
    except OSError as error:
        report(error)
        code = FsckCode.FAILED
    raise typer.Exit(code)


def _check(context: typer.Context, *, repair: bool, as_json: bool) -> FsckCode:
    from repofs import logs
    from repofs.cli.repository import require_owner
    from repofs.inspection.fsck.run import run
    from repofs.repository.layout import Layout

    logs.configure("error")  # what is wrong with a mark is told as a finding
    layout = Layout.open(location.repository(context))
    require_owner(layout)
    with _subject(layout, repair=repair) as subject:
        return _told(run(subject), as_json=as_json)


@contextmanager
def _subject(layout: Layout, *, repair: bool) -> Iterator[Subject]:
    """Lend the repository, opened: alone, or to be read beside its daemon. Raises Busy for a repair beside one."""
    from repofs.cli.repository import catalogue
    from repofs.config import load
    from repofs.inspection.fsck.subject import Subject

    with ExitStack() as stack:
        alone = _is_alone(stack, layout, repair=repair)
        settings = load(layout.root)
        writer = stack.enter_context(catalogue(layout)) if repair else None
        if repair:
            layout.drop_counts.unlink(missing_ok=True)  # the next mount counts what was put there, or is mended now
        reader = stack.enter_context(catalogue(layout, read_only=True))
        yield Subject(
            layout=layout,
            settings=settings,
            reader=reader,
            writer=writer,
            store_stands=partial(_require_in_store, settings),
            recover=partial(_recover, layout, settings, writer or reader),
            live=not alone,
            tell=stack.enter_context(_progress()),
        )


def _recover(layout: Layout, settings: Settings, engine: Engine) -> None:
    """Finish and take back what a daemon was in the middle of, as the next one would."""
    from repofs.importer.disposal import Disposal
    from repofs.importer.recovery import recover

    recover(layout, engine)
    Disposal.of(layout, settings, engine).recover()


def _is_alone(stack: ExitStack, layout: Layout, *, repair: bool) -> bool:
    """Take the lock of the repository and return True; False when somebody else has it."""
    from repofs.repository import lock

    try:
        stack.enter_context(lock.held(layout, "looks through it: repofs fsck"))
    except Busy as error:
        if repair:
            raise Busy(f"{error}: unmount it first, a repair works alone") from error
        return False
    return True


def _require_in_store(settings: Settings, name: str, path: bytes) -> None:
    """Raise NotFound when there is no array at *path* in a declared store, another OSError when nobody can tell."""
    from repofs.registration import stores
    from repofs.tables.store import require_array

    store = next((one for one in settings.stores if one.name == name), None)
    if store is None:
        raise Unreachable(f"{name} is no declared store")
    require_array(stores.uri(store, path), stores.settings(store))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show on a terminal what is being looked through, and how far; yields who is to be told."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from repofs.cli.counting_bar import bar

    with bar("repository", "") as tell:
        yield lambda what, done, total: tell(done, total, title=what)


def _told(results: Iterator[Result], *, as_json: bool) -> FsckCode:
    """Print each finding as it comes, and a summary; return the exit code that stands for them."""
    from repofs.inspection.fsck.findings import Severity

    began, counts = time.monotonic(), Counter[str]()
    for result in results:
        if result.finding.severity is Severity.NOTE:
            counts["notes"] += 1
        else:
            counts["repaired" if result.repaired else "left"] += 1
        _print(result, as_json=as_json)
    repaired, left, notes = (counts[name] for name in ("repaired", "left", "notes"))
    if as_json:
        seconds = round(time.monotonic() - began, 3)
        print_json({"repaired": repaired, "left": left, "notes": notes, "seconds": seconds})
    elif repaired or left:
        print(f"{repaired + left:,} errors, {repaired:,} of them repaired; {notes:,} notes")
    else:
        print(f"clean; {notes:,} notes" if notes else "clean")
    return (FsckCode.CORRECTED if repaired else FsckCode.CLEAN) | (FsckCode.LEFT if left else FsckCode.CLEAN)


def _print(result: Result, *, as_json: bool) -> None:
    from repofs.inspection.fsck.findings import TABLE

    finding = result.finding
    if as_json:
        facts = {"code": finding.code, "severity": finding.severity, "where": finding.where, "text": finding.text}
        print_json({**facts, "repaired": result.repaired, "why_not": result.why_not or None})
        return
    print(f"{finding.severity}: {finding.code}: {cell(finding.where)}: {cell(finding.text)}")
    if result.repaired:
        print("  repaired")
    elif result.why_not:
        print(f"  not repaired: {cell(result.why_not)}")
    else:  # not asked to
        print(f"  --repair: {TABLE[finding.code].mends}")
