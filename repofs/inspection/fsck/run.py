"""All checks, one after another, and the repairs of what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from repofs.catalog.forms import shown
from repofs.inspection.fsck import arrays, catalogue, drops, hidden, made, originals, tree
from repofs.inspection.fsck.findings import TABLE, Finding, Irreparable, Result
from repofs.inspection.fsck.subject import Subject

Check = Callable[[Subject], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    hidden.check_left,  # first: what is taken back there is judged after it
    hidden.check_trash,
    catalogue.check_unfinished,
    catalogue.check_rows,
    drops.check,  # before the originals: what is found under another name
    originals.check,
    tree.check,
    hidden.check_links,  # after all stand-ins were seen
    made.check_failures,  # after all drops were seen
    made.check_thumbnails,
    made.check_cache,
    arrays.check,
    catalogue.check_counters,  # after all marks were seen
)


def run(subject: Subject) -> Iterator[Result]:
    """Yield each finding when it was found, after its repair where *subject* may be repaired."""
    damaged = list(catalogue.check_file(subject))
    for finding in damaged or _all(subject):
        yield _mended(finding) if subject.writer is not None else Result(finding)


def _all(subject: Subject) -> Iterator[Finding]:
    for check in CHECKS:
        yield from check(subject)


def _mended(finding: Finding) -> Result:
    if finding.repair is None:
        return Result(finding, why_not=TABLE[finding.code].mends)
    try:
        finding.repair()
    except Irreparable as error:
        return Result(finding, why_not=str(error))
    except OSError as error:
        where = "" if error.filename is None else f"{_text(error.filename)}: "
        return Result(finding, why_not=f"{where}{error.strerror or error}")
    return Result(finding, repaired=True)


def _text(name: object) -> str:
    return shown(name) if isinstance(name, bytes) else str(name)
