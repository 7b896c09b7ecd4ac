"""repofs verify: are the originals what they were?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import location
from repofs.cli.audit import below_mount, object_of
from repofs.cli.exit_codes import ExitCode
from repofs.cli.output import AsJson, cell, print_json
from repofs.errors import InvalidValue

if TYPE_CHECKING:
    from repofs.inspection.recording import Finding


def verify(
    context: typer.Context,
    what: Annotated[
        str | None, typer.Argument(metavar="[Fileset:N|OriginalFile:N|PATH]", help="Only this; else all originals.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no bytes: only see whether sources are still the same files.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare originals with their checksums."""
    from repofs.cli.repository import catalogue
    from repofs.config import load
    from repofs.inspection.verify import Verifier
    from repofs.repository.layout import Layout

    layout = Layout.open(location.repository(context))
    which = None if what is None else object_of(what) or below_mount(what, layout.root)
    if which is not None and not isinstance(which, bytes) and which.kind not in ("Fileset", "OriginalFile"):
        raise InvalidValue(f"{which} has no files of its own: name a Fileset, an OriginalFile or a path")
    with catalogue(layout) as engine:
        found = Verifier(layout, load(layout.root), engine).verify(which, quick=quick)
        report(found, as_json=as_json, well="as imported")


def report(found: Iterable[Finding], *, as_json: bool, well: str) -> None:
    """Print each file that is not well, and how many are *well*; exit with 1 if not all are."""
    from repofs.catalog.forms import shown
    from repofs.lifecycle import State

    counts: Counter[State] = Counter()
    for finding in found:
        counts[finding.state] += 1
        if as_json:
            facts = {
                "path": shown(finding.held.dropped),
                "import_path": shown(finding.held.path),
                "original": f"OriginalFile:{finding.held.original_id}",
                "fileset": f"Fileset:{finding.held.fileset_id}",
                "state": finding.state,
                "error": finding.error,
            }
            print_json(facts)
        elif finding.state is not State.IMPORTED:
            print(f"{finding.state}: {cell(shown(finding.held.dropped))}: {cell(finding.error)}")
    if not as_json:
        others = "".join(
            f", {counts[state]:,} {state}" for state in State if state in counts and state is not State.IMPORTED
        )
        print(f"{counts[State.IMPORTED]:,} {well}{others}")
    if counts.total() > counts[State.IMPORTED]:
        raise typer.Exit(ExitCode.FAILED)
