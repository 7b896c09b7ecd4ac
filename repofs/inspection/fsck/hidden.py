"""What the mount does not show: what imports and arrivals have left, and the hard links behind stand-ins."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from repofs.catalog import consistency, trashed_rows
from repofs.inspection.fsck.drops import has_origin
from repofs.inspection.fsck.findings import Code, Finding, Irreparable
from repofs.inspection.fsck.subject import Subject
from repofs.repository.trash_notes import TrashNotes
from repofs.repository.trees import files_of, opened
from repofs.trash import Whereabouts


def check_left(subject: Subject) -> Iterator[Finding]:
    """Look for what imports have left. While a daemon runs, it is at them."""
    if subject.live:
        return
    for directory, code in (
        (subject.layout.staging, Code.IMPORT_UNFINISHED),
        (subject.layout.arriving, Code.ARRIVAL_LEFT),
    ):
        for path in sorted(directory.iterdir()):
            if path.name.partition(".")[0].isdecimal():
                text = "an import was in the middle of it"
                yield Finding(code, _where(path), text, partial(_recover, subject, path))
            else:
                yield Finding(Code.LEFTOVER, _where(path), "nobody will go on with it", partial(remove_name, path))


def check_trash(subject: Subject) -> Iterator[Finding]:
    """Compare the trash with its rows. A daemon is at what is on its way."""
    yield from subject.twice(partial(_trash, subject))


def _trash(subject: Subject) -> list[Finding]:
    rows, notes = subject.ask(consistency.trashed), TrashNotes(subject.layout)
    there = set(os.listdir(subject.layout.trash)) if subject.layout.trash.is_dir() else set()
    found = []
    for fileset, step in rows.items():
        what, place = f"Fileset:{fileset}", f".trash/{fileset}"
        if step is not Whereabouts.KEPT:
            if not subject.live:
                found.append(Finding(Code.DELETION_UNFINISHED, what, f"its files are {step}", subject.recover))
        elif not notes.has_files(fileset):
            found.append(Finding(Code.TRASH_WITHOUT_FILES, what, f"{place} has no files"))
        elif notes.read(fileset) is None:
            text = f"{place} has no note of what {what} was"
            found.append(Finding(Code.RECORD_MISSING, place, text, partial(_write_note, subject, notes, fileset)))
    for name in sorted(there - set(map(str, rows))):
        if name.isdecimal() and not notes.has_more(int(name)):
            found.append(Finding(Code.LEFTOVER, f".trash/{name}", "it is not deleted", subject.recover))
        else:
            found.append(Finding(Code.TRASH_WITHOUT_ROW, f".trash/{name}", "no deleted fileset has this number"))
    return found


def _write_note(subject: Subject, notes: TrashNotes, fileset: int) -> None:
    notes.write(fileset, subject.ask(trashed_rows.of, fileset))


def check_links(subject: Subject) -> Iterator[Finding]:
    """Look for hard links of no stand-in, once all stand-ins were seen. A daemon makes and removes both."""
    if subject.live:
        return
    known = sorted([*subject.stand_ins, *_hidden_stand_ins(subject)])
    with os.scandir(subject.layout.linked) as links:
        for link in links:
            if not (link.name.isdecimal() and _has(known, int(link.name))):
                path = Path(link.path)
                yield Finding(
                    Code.LINK_BEHIND_ORPHANED, _where(path), "it is of no stand-in", partial(remove_name, path)
                )


def _hidden_stand_ins(subject: Subject) -> Iterator[int]:
    """Yield the inodes of stand-ins that are on their way, or wherever else the mount does not show them."""
    with opened(subject.managed) as managed:
        for name in os.listdir(subject.managed):
            if name.startswith(b".") and name != b".linked" and os.path.isdir(subject.path(name)):
                for file in files_of(name, dir_fd=managed):
                    if has_origin(file):
                        yield os.fstat(file).st_ino


def remove_name(path: Path) -> None:
    """Remove one name of a file. Raises Irreparable for its last one, and for a directory."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if path.is_dir() and not path.is_symlink():
        raise Irreparable("it is a directory: look at it, and move it away")
    if status.st_nlink < 2 and not path.is_symlink():
        raise Irreparable("it is the last name of this file: look at it, and move it away")
    path.unlink()


def _recover(subject: Subject, path: Path) -> None:
    subject.recover()
    if os.path.lexists(path):
        raise Irreparable("a file in it has no other name: look at it, and move it away")


def _has(numbers: list[int], number: int) -> bool:
    place = bisect_left(numbers, number)
    return place < len(numbers) and numbers[place] == number


def _where(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
