"""The catalogue by itself: is its file whole, do its rows agree, are its counters above all that is in use?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from repofs.catalog import consistency, imports, origins
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.subject import Subject


def check_file(subject: Subject) -> Iterator[Finding]:
    """Have SQLite look at its own file. One finding here, and the rest cannot be asked."""
    for sentence in consistency.integrity(subject.reader):
        yield Finding(Code.CATALOGUE_DAMAGED, subject.layout.catalogue.name, sentence)


def check_rows(subject: Subject) -> Iterator[Finding]:
    """Look for rows that contradict each other."""
    yield from subject.twice(partial(_rows, subject))


def _rows(subject: Subject) -> list[Finding]:
    with subject.reader.begin() as conn:
        found = [Finding(Code.ROW_DANGLING, *one) for one in consistency.dangling(conn)]
        for number, state in consistency.wrong_states(conn):
            repair = partial(subject.write, consistency.settle_as_imported, number)
            text = f"it is {state}, and its fileset is there"
            found.append(Finding(Code.STATE_CONTRADICTS, f"Import:{number}", text, repair))
        for code, kind, query, text in _LONELY:
            found += [Finding(code, f"{kind}:{number}", text) for number in query(conn)]
        return found


_LONELY = (
    (
        Code.IMPORT_WITHOUT_FILESET,
        "Import",
        consistency.imports_without_fileset,
        "it is said to be done, and has no fileset",
    ),
    (Code.FILESET_EMPTY, "Fileset", consistency.filesets_without_original, "it has no original"),
    (Code.ORIGINAL_WITHOUT_FILESET, "OriginalFile", consistency.originals_without_fileset, "it is in no fileset"),
)


def check_unfinished(subject: Subject) -> Iterator[Finding]:
    """Look for what a daemon that has died has not ended. While one runs, nobody can tell."""
    if subject.live:
        return
    for row in subject.ask(imports.unfinished):
        yield Finding(Code.IMPORT_INTERRUPTED, f"Import:{row.id}", "no daemon is at it", subject.recover)
    for due in subject.ask(origins.due):
        text = f"its source {due.origin.path!r} in {due.origin.source!r} is still to be removed"
        yield Finding(Code.REMOVAL_DUE, f"OriginalFile:{due.original_id}", text)


def check_counters(subject: Subject) -> Iterator[Finding]:
    """Compare counters with the ids in use, in the catalogue and on the marks that were seen: the last check."""
    used = subject.ask(consistency.highest)
    counters = subject.ask(consistency.counters)  # after what is in use: they only grow
    for kind, highest in used.items():
        highest = max(highest, subject.highest.get(kind, 0))
        if counters.get(kind, 0) <= highest:
            repair = partial(subject.write, consistency.raise_counter, kind, highest + 1)
            text = f"the next is {counters.get(kind)}, and {highest} is in use"
            yield Finding(Code.COUNTER_BEHIND, kind, text, repair)
