"""What fsck can find: a closed table, of which `docs/reference/fsck.md` is printed (`python -m
repofs.inspection.fsck.findings`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    ERROR = "error"
    NOTE = "note"  # nothing is wrong: it is seen to by the next mount, or by nobody but a person; no exit code


class Code(StrEnum):
    # the catalogue by itself
    CATALOGUE_DAMAGED = "catalogue-damaged"
    ROW_DANGLING = "row-dangling"
    COUNTER_BEHIND = "counter-behind"
    STATE_CONTRADICTS = "state-contradicts"
    IMPORT_WITHOUT_FILESET = "import-without-fileset"
    FILESET_EMPTY = "fileset-empty"
    ORIGINAL_WITHOUT_FILESET = "original-without-fileset"
    IMPORT_INTERRUPTED = "import-interrupted"
    REMOVAL_DUE = "removal-due"
    # originals
    ROW_WITHOUT_ORIGINAL = "row-without-original"
    ORIGINAL_WITHOUT_ROW = "original-without-row"
    FILE_WITHOUT_ROW = "file-without-row"
    SIZE_DIFFERS = "size-differs"
    MARK_MISSING = "mark-missing"
    MARK_DIFFERS = "mark-differs"
    MARK_COPIED = "mark-copied"
    STANDS_DIFFER = "stands-differ"
    BIT_MISSING = "bit-missing"
    BIT_WITHOUT_MARK = "bit-without-mark"
    ORIGIN_DIFFERS = "origin-differs"
    OWNER_DIFFERS = "owner-differs"
    LINK_BEHIND_MISSING = "link-behind-missing"
    LINK_BEHIND_ORPHANED = "link-behind-orphaned"
    LOG_MISSING = "log-missing"
    LOG_ORPHANED = "log-orphaned"
    RECORD_MISSING = "record-missing"
    # on the way
    IMPORT_UNFINISHED = "import-unfinished"
    ARRIVAL_LEFT = "arrival-left"
    DELETION_UNFINISHED = "deletion-unfinished"
    TRASH_WITHOUT_FILES = "trash-without-files"
    TRASH_WITHOUT_ROW = "trash-without-row"
    LEFTOVER = "leftover"
    DROP_FORGOTTEN = "drop-forgotten"
    # what is made from the rest
    FAILED_LINK_BROKEN = "failed-link-broken"
    FAILURE_LOG_STALE = "failure-log-stale"
    THUMBNAIL_MISSING = "thumbnail-missing"
    THUMBNAIL_ORPHANED = "thumbnail-orphaned"
    TABLE_HALF_MADE = "table-half-made"
    TABLE_GONE = "table-gone"
    TABLE_OFFLINE = "table-offline"


class Entry(NamedTuple):
    """*mends*: what the repair does, or why there is none."""

    meaning: str
    repaired: bool
    mends: str
    severity: Severity = Severity.ERROR


_NOTE = Severity.NOTE
_REBUILD = "none: `repofs fsck --rebuild-catalogue` makes the catalogue anew from the tree"
_RECOVER = "it is finished or taken back, as the next mount would"

TABLE: dict[Code, Entry] = {
    Code.CATALOGUE_DAMAGED: Entry(
        "SQLite finds the file of the catalogue damaged; nothing that it says is compared with the tree.", False,
        "none: put a backup back, or make it anew with `repofs fsck --rebuild-catalogue`",
    ),
    Code.ROW_DANGLING: Entry("A row of the catalogue points to one that is not there.", False, _REBUILD),
    Code.COUNTER_BEHIND: Entry(
        "The next id of a kind is not above all that are in use, in the catalogue or on marks.", True,
        "the counter is raised above them",
    ),
    Code.STATE_CONTRADICTS: Entry(
        "An import has a fileset, and its state says that it has none.", True,
        "its state becomes `imported`: its rows were committed together",
    ),
    Code.IMPORT_WITHOUT_FILESET: Entry(
        "An import is said to be done, and has no fileset, nor has the trash.", False, _REBUILD
    ),
    Code.FILESET_EMPTY: Entry("A fileset has no original.", False, _REBUILD),
    Code.ORIGINAL_WITHOUT_FILESET: Entry("An original of the catalogue is in no fileset.", False, _REBUILD),
    Code.IMPORT_INTERRUPTED: Entry(
        "An import is in state `importing`, and there is no daemon that could be at it.", True, _RECOVER
    ),
    Code.REMOVAL_DUE: Entry(
        "A source that a transfer removes is still to be removed.", False,
        "none: the next mount removes it, with the rights of who imported it", _NOTE,
    ),
    Code.ROW_WITHOUT_ORIGINAL: Entry(
        "The catalogue has an original whose file, or stand-in, is not in its import directory.", True,
        "it is linked back from the name where it was dropped, or its stand-in is made anew; where neither can be, "
        "the file is to come from a backup",
    ),
    Code.ORIGINAL_WITHOUT_ROW: Entry("The catalogue does not know an import directory.", False, _REBUILD),
    Code.FILE_WITHOUT_ROW: Entry(
        "A file lies in an import directory and is none of its fileset.", False,
        "none: nobody but you can say what it is; move it away in the backing tree, or rebuild the catalogue if it is "
        "an original",
    ),
    Code.SIZE_DIFFERS: Entry(
        "An original is longer or shorter than it was imported.", False, "none: restore it from a backup"
    ),
    Code.MARK_MISSING: Entry(
        "The mark or the origin of an original is missing, or was not written by this repository.", True,
        "it is written again, once its own bytes were read and agree with the checksum",
    ),
    Code.MARK_DIFFERS: Entry(
        "The mark of an original names other ids, another place or another checksum than its row.", True,
        "as `mark-missing`",
    ),
    Code.STANDS_DIFFER: Entry(
        "The mark of an original says that it was found otherwise than its row: as imported, altered, missing or "
        "offline.", True,
        "the row says what the mark says, which is written first",
    ),
    Code.MARK_COPIED: Entry(
        "A file bears the mark of an original, and is another file, or the original was deleted.",
        True,
        "its mark is taken off: it is a file of its user's again, incomplete",
    ),
    Code.BIT_MISSING: Entry("An original has its mark, and not the sticky bit that says so.", True, "the bit is set"),
    Code.BIT_WITHOUT_MARK: Entry(
        "A file has the sticky bit of originals, and no mark.", True, "the bit is taken off"
    ),
    Code.ORIGIN_DIFFERS: Entry(
        "A file in place says another origin than its row.", True, "what the catalogue says is written on it"
    ),
    Code.OWNER_DIFFERS: Entry(
        "A file, its import directory or its log belongs to another user or group than in the catalogue.", True,
        "it is given to them",
    ),
    Code.LINK_BEHIND_MISSING: Entry(
        "The hard link with the bytes of an original (`ln`, `ln_rm`) is missing, or another file has its name, as in a "
        "repository that was copied.", True,
        "it is made again, if another of the repository's links or the source has its bytes; another file is set aside",
    ),
    Code.LINK_BEHIND_ORPHANED: Entry(
        "A hard link in `.linked` is of no stand-in.", True,
        "it is removed if the file has another name; the last one stays",
    ),
    Code.LOG_MISSING: Entry("An import directory has no log.", True, "one is written that says so, with a record"),
    Code.LOG_ORPHANED: Entry(
        "A log has no import directory, and the catalogue knows none.", True,
        "it is moved to `.repofs/log/` of its user",
    ),
    Code.RECORD_MISSING: Entry(
        "A log has no record of its import that is right, or one that tells of other originals or images than the "
        "catalogue; or the trash has no note of a deleted fileset.", True,
        "it is written from the catalogue, so that this can be rebuilt from it",
    ),
    Code.IMPORT_UNFINISHED: Entry("An import has left something in `.staging`.", True, _RECOVER),
    Code.ARRIVAL_LEFT: Entry("An arrival has left something in `.arriving`.", True, _RECOVER),
    Code.DELETION_UNFINISHED: Entry(
        "A fileset was on its way into the trash, or out of it.", True, "its files are taken where they belong"
    ),
    Code.TRASH_WITHOUT_FILES: Entry(
        "A deleted fileset has no files in the trash.", False,
        "none: put them back from a backup, or have it gone by `repofs trash empty`",
    ),
    Code.TRASH_WITHOUT_ROW: Entry(
        "Files lie in the trash of which the catalogue knows no deleted fileset.", False,
        "none: nobody else may have them; look at them, and move them away in the backing tree",
    ),
    Code.LEFTOVER: Entry(
        "A temporary file or directory of the repository's own was left behind.", True,
        "it is removed, unless it is the last name of a file",
    ),
    Code.DROP_FORGOTTEN: Entry(
        "A file was closed and is not imported, and the journal has nothing of it. A policy of its directory, or its "
        "user, may have said so.", True, "the next mount looks at its directory", _NOTE,
    ),
    Code.FAILED_LINK_BROKEN: Entry(
        "A link in `.repofs/failed` leads nowhere.", True, "it is removed"
    ),
    Code.FAILURE_LOG_STALE: Entry(
        "The log of a failure is named by no file and no link.", True, "it is removed", _NOTE
    ),
    Code.THUMBNAIL_MISSING: Entry(
        "An image is said to have a thumbnail, and there is none.", True, "the daemon makes it again"
    ),
    Code.THUMBNAIL_ORPHANED: Entry(
        "A thumbnail is of no image, or of one that is said to have none.", True, "it is removed"
    ),
    Code.TABLE_HALF_MADE: Entry(
        "An array that somebody was making lies hidden beside its place.", False,
        "none: its user may still be at it; else remove it with `rm -r` in the mount", _NOTE,
    ),
    Code.TABLE_GONE: Entry(
        "The array of a registered table is not there.", False, "none: put it back, or unregister the table"
    ),
    Code.TABLE_OFFLINE: Entry(
        "The source or store with the array of a table is away, or does not answer.", False,
        "none: nothing is known of the array while it is away", _NOTE,
    ),
}  # fmt: skip


class Irreparable(Exception):
    """Why a repair was not made: nothing has changed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    code: Code
    where: str  # a path below the repository's directory, or an object
    text: str  # what is wrong, one sentence
    repair: Callable[[], object] | None = None  # idempotent; raises Irreparable, OSError

    @property
    def severity(self) -> Severity:
        return TABLE[self.code].severity


@dataclass(frozen=True, slots=True)
class Result:
    """A finding, and what came of its repair."""

    finding: Finding
    repaired: bool = False
    why_not: str = ""


def page() -> str:
    """Return the table of codes, in Markdown."""
    rows = [
        f"| `{code}` | {entry.severity} | {entry.meaning} | {entry.mends[0].upper()}{entry.mends[1:]}. |"
        for code, entry in TABLE.items()
    ]
    return "\n".join(["| code | severity | meaning | `--repair` |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(page())
