"""repofs fsck --rebuild-catalogue: a new catalogue from the tree."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from repofs.cli.exit_codes import FsckCode
from repofs.cli.output import cell, print_json

if TYPE_CHECKING:
    from repofs.inspection.rebuild import Rebuilt


def rebuild_catalogue(root: Path, *, as_json: bool) -> FsckCode:
    """Make it, print what it could not get back, and return the exit code for that. Raises Busy beside a daemon."""
    from repofs import logs
    from repofs.cli.repository import catalogue, require_owner
    from repofs.config import load
    from repofs.importer.disposal import Disposal
    from repofs.inspection.rebuild import rebuild
    from repofs.repository import lock
    from repofs.repository.layout import Layout

    logs.configure("error")  # what is wrong with a mark is told with its import directory
    layout, began = Layout.open(root), time.monotonic()
    require_owner(layout)
    with lock.held(layout, "makes its catalogue anew: repofs fsck --rebuild-catalogue"), _progress() as tell:
        settings = load(layout.root)
        rebuilt = rebuild(layout, settings, tell)
        with catalogue(layout) as engine:
            Disposal.of(layout, settings, engine).recover()  # what was half in the trash
    _print(rebuilt, time.monotonic() - began, as_json=as_json)
    return FsckCode.CORRECTED | (FsckCode.LEFT if rebuilt.lacks else FsckCode.CLEAN)


@contextmanager
def _progress() -> Iterator[Callable[[Rebuilt], None]]:
    """Show on a terminal how far it is; yields who is to be told."""
    if not sys.stderr.isatty():
        yield lambda rebuilt: None
        return
    from repofs.cli.counting_bar import bar

    with bar("catalogue", "files") as tell:
        yield lambda rebuilt: tell(rebuilt.files, None)


def _print(rebuilt: Rebuilt, seconds: float, *, as_json: bool) -> None:
    from repofs.catalog.forms import shown

    for lack in rebuilt.lacks:
        if as_json:
            print_json({"path": shown(lack.path), "reason": lack.reason})
        else:
            print(f"{cell(shown(lack.path)) or 'the repository'}: {cell(lack.reason)}")
    kept = None if rebuilt.kept is None else str(rebuilt.kept)
    if as_json:
        counts = {
            "filesets": rebuilt.filesets,
            "files": rebuilt.files,
            "trashed": rebuilt.trashed,
            "lacking": len(rebuilt.lacks),
        }
        print_json({**counts, "taken": rebuilt.taken, "kept": kept, "seconds": round(seconds, 3)})
        return
    print(
        f"rebuilt: {rebuilt.filesets:,} filesets of {rebuilt.files:,} files, {rebuilt.trashed:,} in the trash, "
        f"in {seconds:.1f} s"
    )
    if rebuilt.taken:
        print(f"taken over from the catalogue of before, as old as it is: {', '.join(rebuilt.taken)}")
    if kept is not None:
        print(f"the catalogue of before: {cell(kept)}")
