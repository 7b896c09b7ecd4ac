"""repofs import: files from outside the mount, as OMERO's importer takes them."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import location
from repofs.cli.exit_codes import ImportCode, report
from repofs.errors import InvalidValue
from repofs.model import Exclusion, Transfer

if TYPE_CHECKING:
    from repofs.cli.bulk import Bulk
    from repofs.cli.importing import Watch

DEPTH = 4  # OMERO's
PARALLEL = 4


class Skip(StrEnum):
    ALL = "all"
    CHECKSUM = "checksum"
    MINMAX = "minmax"
    THUMBNAILS = "thumbnails"
    UPGRADE = "upgrade"


class Output(StrEnum):
    IDS = "ids"
    JSON = "json"
    YAML = "yaml"


def import_(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", readable=False, help="Files and directories.")
    ] = None,
    transfer: Annotated[str, typer.Option(help="How the bytes come: upload, upload_rm, ln …")] = Transfer.UPLOAD,
    target: Annotated[
        str | None, typer.Option("--target", "-T", help="Dataset:12, Dataset:name:X, regex:…; else orphans.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="What the images are called.")] = None,
    owner: Annotated[str | None, typer.Option("--as", metavar="USER", help="Whose they are to be.")] = None,
    group: Annotated[str | None, typer.Option(help="Which group they are to belong to.")] = None,
    skip: Annotated[list[Skip] | None, typer.Option(help="A step to leave out.")] = None,
    exclude: Annotated[list[Exclusion] | None, typer.Option(help="Leave out what was imported before.")] = None,
    checksum_algorithm: Annotated[str | None, typer.Option(help="As the setting imports.checksum_algorithm.")] = None,
    depth: Annotated[int, typer.Option(min=1, max=1000, help="How many directories deep to look.")] = DEPTH,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="How many filesets at a time.")] = PARALLEL,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-f", help="Show what would be imported.")] = False,
    bulk: Annotated[
        Path | None, typer.Option(metavar="FILE.yml", readable=False, help="Take paths and options from a file.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Wait until all is imported, or go on in the background.")] = True,
    output: Annotated[Output | None, typer.Option(help="Print for programs.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but what failed, in one line.")] = False,
) -> None:
    """Import files from outside the mount."""
    from repofs.cli import importing
    from repofs.cli.bulk import Bulk, read

    if bool(paths) == (bulk is not None):
        raise _usage("write the files and directories to import, or --bulk FILE.yml")
    try:
        usual = importing.Wanted(
            path=b"",
            transfer=transfer,
            target=importing.target(target),
            name=name,
            owner=owner,
            group=group,
            skip=tuple(map(str, skip or ())),
            exclude=tuple(exclude or ()),
            checksum_algorithm=checksum_algorithm,
            depth=depth,
        )
        if bulk is None:
            what = Bulk(importing.each(usual, paths or ()), parallel, dry_run)
        else:
            what = read(bulk, Bulk([usual], parallel, dry_run))
        importing.check(what.wanted)
    except OSError as error:
        report(error)
        raise typer.Exit(ImportCode.USAGE) from None
    try:
        code = _run(context, what, wait=wait, output=output, quiet=quiet)
    except OSError as error:
        report(error)
        code = ImportCode.FAILED
    if code:
        raise typer.Exit(code)


def _usage(message: str) -> typer.Exit:
    report(InvalidValue(message))
    return typer.Exit(ImportCode.USAGE)


def _run(
    context: typer.Context,
    what: Bulk,
    *,
    wait: bool,
    output: Output | None,
    quiet: bool,
) -> ImportCode:
    from repofs.cli import import_report, importing
    from repofs.config import load
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    settings = load(layout.root)
    plan = importing.plan(what.wanted, settings.drops)
    if what.dry_run:
        import_report.print_plan(plan, settings.readers)
        return importing.exit_code(plan.problems)
    reports = importing.carry_out(layout, plan, what.parallel, wait=wait, watch=_watch(output, quiet))
    match output:
        case Output.IDS:
            import_report.print_ids(reports)
        case Output.JSON:
            import_report.print_reports_json(reports)
        case Output.YAML:
            import_report.print_reports_yaml(reports)
    if quiet or output is not None:
        import_report.print_summary(reports)
    return importing.exit_code(reports)


def _watch(output: Output | None, quiet: bool) -> Watch:
    from repofs.cli import import_report

    if quiet:
        return import_report.silent
    if sys.stderr.isatty():
        return import_report.bar
    return import_report.lines if output is None else import_report.silent
