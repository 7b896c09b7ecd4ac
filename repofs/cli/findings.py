"""What an inspection has found, as it is printed, and how its changes become known beside a running daemon."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from repofs.cli.exit_codes import ExitCode
from repofs.cli.output import cell, print_json
from repofs.errors import DaemonUnreachable

if TYPE_CHECKING:
    from repofs.catalog.engine import Engine
    from repofs.inspection.recording import Finding, Recording
    from repofs.repository.layout import Layout

_NOT_FOUND_OUT = "not looked at"


class Report:
    """Prints each file that is not well, or with JSON each file, and at the end how many are *well*."""

    def __init__(self, *, as_json: bool, well: str) -> None:
        self._as_json = as_json
        self._well = well
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Of all files."""
        return self._counts.total()

    def add(self, finding: Finding) -> None:
        from repofs.catalog.forms import shown

        held, words = finding.held, _word(finding)
        self._counts[words] += 1
        if self._as_json:
            facts = {
                "path": shown(held.dropped),
                "import_path": shown(held.path),
                "original": f"OriginalFile:{held.original_id}",
                "fileset": f"Fileset:{held.fileset_id}",
                "state": finding.state,
                "error": finding.error,
            }
            print_json(facts)
        elif not finding.well:
            print(f"{words}: {cell(shown(held.dropped))}: {cell(finding.error)}")

    def end(self) -> None:
        """Print how many were found how; exit with 1 unless all are well."""
        from repofs.lifecycle import State

        if not self._as_json:
            order = [*(str(state) for state in State if state is not State.IMPORTED), _NOT_FOUND_OUT]
            others = "".join(f", {self._counts[word]:,} {word}" for word in order if self._counts[word])
            print(f"{self._counts[State.IMPORTED]:,} of {self.count:,} files {self._well}{others}")
        if self.count > self._counts[State.IMPORTED]:
            raise typer.Exit(ExitCode.FAILED)


def _word(finding: Finding) -> str:
    """Return the state, or that it is not known: of one that is held as well, and could not be looked at."""
    from repofs.lifecycle import State

    return _NOT_FOUND_OUT if finding.state is State.IMPORTED and not finding.well else str(finding.state)


def recording(layout: Layout, engine: Engine) -> Recording:
    """Return what writes findings into the repository and tells the daemon that has it, if one has."""
    from repofs.catalog import verification
    from repofs.catalog.verification import Found
    from repofs.control import client
    from repofs.control.protocol import Call, OriginalsFound
    from repofs.inspection.recording import Recording

    def write(found: Sequence[Found]) -> list[bool]:
        with engine.begin() as conn:
            return verification.record(conn, found)

    def tell(inodes: Sequence[int]) -> None:
        with suppress(DaemonUnreachable):  # it has just ended: the next one reads marks and catalogue anew
            client.ask(layout, Call(OriginalsFound(tuple(inodes))))

    return Recording(layout, write, tell)
