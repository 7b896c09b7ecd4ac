"""`repofs fsck`: each damage is found, what can be mended is mended, and a second look finds nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from repofs.catalog import trash
from repofs.config import load
from repofs.importer.disposal import Disposal
from repofs.inspection.fsck.findings import TABLE, Code
from repofs.lifecycle import State
from repofs.model import Original
from repofs.repository.durable import write_whole
from repofs.repository.layout import load_key
from repofs.repository.log_records import LogRecords
from repofs.repository.marks import ORIGINAL_BIT
from repofs.xattrs import MARK, ORIGIN
from tests.helpers.checked import ARRAY, LINKED, NAMED, PLAIN, Checked

Damage = Callable[[Checked], object]


@pytest.fixture
def one(tmp_path: Path) -> Checked:
    return Checked.make(tmp_path)


def test_nothing_is_found_where_nothing_is_wrong(one: Checked) -> None:
    assert one.fsck() == (0, [])
    assert one.fsck("--repair") == (0, [])


# --- what is repaired -----------------------------------------------------------------------------


def lose_everything_in_the_directory(one: Checked) -> None:
    shutil.rmtree(one.home(ARRAY))


def forge_the_mark(one: Checked) -> None:
    value = os.getxattr(one.original(PLAIN), MARK)
    os.setxattr(one.original(PLAIN), MARK, value[:-2] + b" }")


def mark_as_another(one: Checked) -> None:
    value = os.getxattr(one.original(NAMED), MARK)
    os.setxattr(one.original(PLAIN), MARK, value)


def mark_as_altered(one: Checked) -> None:
    one.repository.marks.write(str(one.original(PLAIN)), replace(one.mark(PLAIN), stands=State.ALTERED))


def copy_with_attributes(one: Checked) -> None:
    shutil.copy2(one.original(PLAIN), one.dropped(b"copy.tif"))


def lose_the_stand_in(one: Checked) -> None:
    one.original(NAMED).unlink()
    one.dropped(NAMED).unlink()


def lose_the_stand_in_with_its_link(one: Checked) -> None:
    os.unlink(one.repository.layout.linked / str(one.original(LINKED).stat().st_ino))
    one.original(LINKED).unlink()
    one.dropped(LINKED).unlink()


def lose_the_link(one: Checked) -> None:
    os.unlink(one.repository.layout.linked / str(one.original(LINKED).stat().st_ino))


def copy_the_link(one: Checked) -> Path:
    """As a repository that is copied does: stand-in and link have other inodes, and the source may have gone."""
    link = one.repository.layout.linked / str(one.original(LINKED).stat().st_ino)
    shutil.copy2(link, link.with_name("4711"))
    link.unlink()
    (one.outside / os.fsdecode(LINKED)).rename(one.outside / "moved.tif")
    return link


def copy_the_link_and_have_its_name_taken(one: Checked) -> None:
    link = copy_the_link(one)
    link.write_bytes(b"another's")
    os.link(link, one.outside / "another.tif")


def rename_the_drop_and_lose_the_original(one: Checked) -> None:
    one.original(PLAIN).unlink()
    one.dropped(PLAIN).rename(one.dropped(b"kept under this name.tif"))


def rename_the_linked_and_lose_the_original(one: Checked) -> None:
    one.original(LINKED).unlink()
    one.dropped(LINKED).rename(one.dropped(b"kept.tif"))


def interrupt_an_import(one: Checked) -> None:
    one.repository.write(one.repository.alice, b"half.tif")
    one.sql("UPDATE ids SET next = 100 WHERE kind = 'Import'")
    columns = "owner_id, actor_uid, user_directory, path, transfer, device, inode, size, mtime_ns, attempts, started"
    one.sql(f"INSERT INTO imports (id, state, {columns}) SELECT 99, 'importing', {columns} FROM imports LIMIT 1")


def leave_in_staging(one: Checked) -> None:
    drop = one.repository.write(one.repository.alice, b"half.tif")
    (one.repository.layout.staging / "77").mkdir()
    os.link(drop, one.repository.layout.staging / "77" / "half.tif")
    drop.unlink()
    os.link(one.repository.layout.staging / "77" / "half.tif", drop)


def orphan_a_link(one: Checked) -> None:
    other = one.outside / "other.tif"
    other.write_bytes(b"bytes")
    os.link(other, one.repository.layout.linked / "99999999")


def orphan_a_log(one: Checked) -> None:
    log = one.home(PLAIN).with_name(one.home(PLAIN).name + ".log")
    os.setxattr(shutil.copy(log, log.with_name("lost.log")), b"user.repofs.place", _place(one, b"lost"))


def log_of(one: Checked, name: bytes) -> Path:
    return one.home(name).with_name(one.home(name).name + ".log")


def forget_the_record(one: Checked) -> None:
    lines = log_of(one, PLAIN).read_bytes().splitlines(keepends=True)
    log_of(one, PLAIN).write_bytes(b"".join(line for line in lines if not line.startswith(b"record ")))


def cut_the_record_off(one: Checked) -> None:
    os.truncate(log_of(one, PLAIN), log_of(one, PLAIN).stat().st_size - 20)


def take_the_record_of_another(one: Checked) -> None:
    log_of(one, PLAIN).write_bytes(log_of(one, ARRAY).read_bytes())


def record_of_another_version(one: Checked) -> None:
    signed = LogRecords(load_key(one.repository.layout))
    log_of(one, PLAIN).write_bytes(signed.added("an older log\n", {"import": {"of": "another version"}}))


def _place(one: Checked, name: bytes) -> bytes:
    mark = one.mark(PLAIN)
    return os.path.join(mark.user_directory.encode(), os.path.dirname(mark.import_directory.encode()), name)


def fail_without_a_drop(one: Checked) -> None:
    directory = one.repository.layout.failed / os.fsdecode(one.repository.alice)
    (directory / "gone.tif").symlink_to("../../../alice_2/gone.tif")


def leave_a_failure_log(one: Checked) -> None:
    directory = one.repository.layout.failure_logs / os.fsdecode(one.repository.alice)
    directory.mkdir(exist_ok=True)
    (directory / "17.log").write_text("it failed\n")


def forget_a_drop(one: Checked) -> None:
    one.repository.write(one.repository.alice, b"run7/new.tif")
    one.repository.write(one.repository.alice, b"run7/.DS_Store")
    one.repository.write(one.repository.alice, b"run8/waits.tif")
    one.repository.layout.journal.write_bytes(b"d alice_2/run7\0D alice_2/run7\0t alice_2/run8\0d alice_2/to")


def disposal(one: Checked) -> Disposal:
    return Disposal.of(one.repository.layout, load(one.repository.layout.root), one.repository.engine)


def delete(one: Checked, name: bytes) -> int:
    """Delete the fileset of what was dropped as *name*."""
    number = one.mark(name).fileset
    with one.repository.engine.begin() as conn:
        held = trash.held(conn, number)
    disposal(one).delete(held, 5000)
    return number


def interrupt_a_deletion(one: Checked) -> None:
    number = one.mark(LINKED).fileset
    with one.repository.engine.begin() as conn:
        trash.discard(conn, number, 5000, (), 0)


def forget_to_remove_a_note(one: Checked) -> None:
    write_whole(one.repository.layout.trash / "1" / "note", b"of a fileset that is back")


def thumbnail(one: Checked) -> Path:
    return one.repository.layout.thumbnail(one.mark(PLAIN).images[0])


REPAIRED: list[tuple[Code, Damage]] = [
    (Code.COUNTER_BEHIND, lambda one: one.sql("UPDATE ids SET next = 1 WHERE kind = 'OriginalFile'")),
    (Code.COUNTER_BEHIND, lambda one: one.sql("DELETE FROM ids WHERE kind = 'Image'")),
    (Code.STATE_CONTRADICTS, lambda one: one.sql("UPDATE imports SET state = 'failed' WHERE id = 1")),
    (Code.IMPORT_INTERRUPTED, interrupt_an_import),
    (Code.IMPORT_UNFINISHED, leave_in_staging),
    (Code.ARRIVAL_LEFT, lambda one: (one.repository.layout.arriving / "5").mkdir()),
    (Code.DELETION_UNFINISHED, interrupt_a_deletion),
    (Code.ROW_WITHOUT_ORIGINAL, lambda one: one.original(PLAIN).unlink()),
    (Code.ROW_WITHOUT_ORIGINAL, lose_everything_in_the_directory),
    (Code.ROW_WITHOUT_ORIGINAL, lose_the_stand_in),
    (Code.ROW_WITHOUT_ORIGINAL, lose_the_stand_in_with_its_link),
    (Code.ROW_WITHOUT_ORIGINAL, rename_the_drop_and_lose_the_original),
    (Code.ROW_WITHOUT_ORIGINAL, rename_the_linked_and_lose_the_original),
    (Code.MARK_MISSING, lambda one: os.removexattr(one.original(PLAIN), MARK)),
    (Code.MARK_MISSING, lambda one: os.removexattr(one.original(NAMED), MARK)),
    (Code.MARK_MISSING, forge_the_mark),
    (Code.MARK_DIFFERS, mark_as_another),
    (Code.MARK_COPIED, copy_with_attributes),
    (Code.STANDS_DIFFER, mark_as_altered),
    (Code.STANDS_DIFFER, lambda one: one.sql("UPDATE original_files SET stands = 'missing' WHERE id = 1")),
    (Code.BIT_MISSING, lambda one: one.original(PLAIN).chmod(0o644)),
    (
        Code.BIT_WITHOUT_MARK,
        lambda one: one.repository.write(one.repository.alice, b"new.tif").chmod(0o644 | ORIGINAL_BIT),
    ),
    (Code.ORIGIN_DIFFERS, lambda one: os.removexattr(one.original(NAMED), ORIGIN)),
    (Code.ORIGIN_DIFFERS, lambda one: one.sql("UPDATE origins SET path = CAST('x' AS BLOB) WHERE transfer = 'ln_s'")),
    (Code.LINK_BEHIND_MISSING, lose_the_link),
    (Code.LINK_BEHIND_MISSING, copy_the_link),
    (Code.LINK_BEHIND_MISSING, copy_the_link_and_have_its_name_taken),
    (Code.LINK_BEHIND_ORPHANED, orphan_a_link),
    (Code.LOG_MISSING, lambda one: one.home(PLAIN).with_name(one.home(PLAIN).name + ".log").unlink()),
    (Code.LOG_ORPHANED, orphan_a_log),
    (Code.RECORD_MISSING, forget_the_record),
    (Code.RECORD_MISSING, cut_the_record_off),
    (Code.RECORD_MISSING, take_the_record_of_another),
    (Code.RECORD_MISSING, record_of_another_version),
    (Code.RECORD_MISSING, lambda one: (one.repository.layout.trash / str(delete(one, PLAIN)) / "note").unlink()),
    (Code.LEFTOVER, forget_to_remove_a_note),
    (Code.DROP_FORGOTTEN, forget_a_drop),
    (Code.FAILED_LINK_BROKEN, fail_without_a_drop),
    (Code.FAILURE_LOG_STALE, leave_a_failure_log),
    (Code.THUMBNAIL_MISSING, lambda one: thumbnail(one).unlink()),
    (Code.THUMBNAIL_ORPHANED, lambda one: thumbnail(one).with_name("Image-999.png").touch()),
    (Code.THUMBNAIL_ORPHANED, lambda one: one.sql("UPDATE images SET thumbnail = 'skipped'")),
    (Code.LEFTOVER, lambda one: os.link(one.original(PLAIN), one.repository.layout.staging / "mine")),
]
if os.geteuid() == 0:
    REPAIRED += [
        (Code.OWNER_DIFFERS, lambda one: os.chown(one.original(PLAIN), 4711, 4711)),
        (Code.OWNER_DIFFERS, lambda one: os.chown(one.home(PLAIN), 4711, -1)),
    ]


@pytest.mark.parametrize(
    ("code", "damage"), REPAIRED, ids=[f"{code}-{getattr(damage, '__name__', '')}" for code, damage in REPAIRED]
)
def test_a_damage_is_found_mended_and_found_no_more(one: Checked, code: Code, damage: Damage) -> None:
    bytes_before = everything(one)
    damage(one)
    severity = TABLE[code].severity
    exit_code, found = one.codes()
    assert code in found and exit_code == (4 if severity == "error" else 0)
    exit_code, findings = one.fsck("--repair")
    assert all(finding["repaired"] for finding in findings if finding["code"] == code)
    assert exit_code == (1 if severity == "error" else 0), findings
    exit_code, found = one.codes()
    assert (exit_code, found) == (0, set())
    assert bytes_before <= everything(one)
    check_whole(one)


def everything(one: Checked) -> set[bytes]:
    """What bytes there are, in the repository's tree, in its hard links, and in the source."""
    files = [*one.repository.layout.managed.rglob("*"), *one.outside.rglob("*")]
    return {path.read_bytes() for path in files if path.is_file() and path.suffix not in (".log", "")} - {b""}


def check_whole(one: Checked) -> None:
    """Each original is in its place with its mark."""
    for known in one.repository.originals():
        path = one.repository.layout.managed / str(known["import_path"])
        mark = one.repository.mark(path)
        assert isinstance(mark, Original) and path.stat().st_mode & ORIGINAL_BIT
        assert f"OriginalFile:{mark.original}" == known["original"]


# --- what is not -----------------------------------------------------------------------------------


def lose_the_file(one: Checked) -> None:
    one.original(PLAIN).unlink()
    one.dropped(PLAIN).unlink()


def change_the_bytes_and_lose_the_mark(one: Checked) -> None:
    path = one.original(PLAIN)
    os.removexattr(path, MARK)
    path.write_bytes(b"PIXELS")


def lose_the_link_and_its_source(one: Checked) -> None:
    lose_the_link(one)
    (one.outside / os.fsdecode(LINKED)).unlink()


def put_bytes_in_place_of_a_stand_in(one: Checked) -> None:
    path = one.original(NAMED)
    size = path.stat().st_size
    path.unlink()
    one.dropped(NAMED).unlink()
    path.write_bytes(b"x" * size)


def orphan_a_link_that_is_the_last_name(one: Checked) -> None:
    (one.repository.layout.linked / "99999999").write_bytes(b"bytes that nobody else has")


def forget_the_rows(one: Checked) -> None:
    """As of a catalogue that was rolled back."""
    number = one.mark(ARRAY).fileset
    one.sql(
        "DELETE FROM original_files WHERE id IN (SELECT original_id FROM fileset_entries WHERE fileset_id = ?)", number
    )
    one.sql("DELETE FROM fileset_entries WHERE fileset_id = ?", number)
    one.sql("DELETE FROM imports WHERE id IN (SELECT import_id FROM filesets WHERE id = ?)", number)
    one.sql("DELETE FROM filesets WHERE id = ?", number)


def forget_one_row(one: Checked) -> None:
    number = one.mark(ARRAY).original
    one.sql("DELETE FROM fileset_entries WHERE original_id = ?", number)
    one.sql("DELETE FROM original_files WHERE id = ?", number)


def remove_the_source(one: Checked) -> None:
    shutil.rmtree(one.outside)


def table(one: Checked, kind: str, root: str, path: str) -> None:
    """Register a table whose array is there."""
    columns = "name, user_directory, uri, row_count, columns, manifest, token_salt, token_digest, state"
    values = "'cells', CAST('alice_2' AS BLOB), 'u', 0, '[]', '', '', '', 'registered'"
    one.sql("INSERT INTO annotations (id, kind, owner_id, group_id, created) VALUES (1, 'FileAnnotation', 2, 3, '')")
    one.sql("UPDATE ids SET next = 2 WHERE kind = 'Annotation'")
    places = (kind, root, path.encode())
    one.sql(
        f"INSERT INTO tables (annotation_id, {columns}, place_kind, place_root, place_path)"
        f" VALUES (1, {values}, ?, ?, ?)",
        *places,
    )


LEFT: list[tuple[Code, Damage, str]] = [
    (Code.ROW_DANGLING, lambda one: one.sql("DELETE FROM groups"), "rebuild-catalogue"),
    (Code.IMPORT_WITHOUT_FILESET, lambda one: one.sql("DELETE FROM filesets"), "rebuild-catalogue"),
    (Code.FILESET_EMPTY, lambda one: one.sql("DELETE FROM fileset_entries"), "rebuild-catalogue"),
    (Code.ORIGINAL_WITHOUT_FILESET, lambda one: one.sql("DELETE FROM fileset_entries"), "rebuild-catalogue"),
    (Code.ROW_WITHOUT_ORIGINAL, lose_the_file, "backup"),
    (
        Code.ROW_WITHOUT_ORIGINAL,
        lambda one: (one.original(PLAIN).unlink(), one.dropped(PLAIN).write_bytes(b"x")),
        "backup",
    ),
    (Code.ORIGINAL_WITHOUT_ROW, forget_the_rows, "rebuild-catalogue"),
    (Code.FILE_WITHOUT_ROW, lambda one: (one.home(ARRAY) / "stray").write_bytes(b"x"), "move it away"),
    (Code.FILE_WITHOUT_ROW, forget_one_row, "move it away"),
    (Code.SIZE_DIFFERS, lambda one: one.original(PLAIN).write_bytes(b"longer than it was"), "backup"),
    (Code.MARK_MISSING, change_the_bytes_and_lose_the_mark, "backup"),
    (Code.MARK_MISSING, put_bytes_in_place_of_a_stand_in, "bytes of its own"),
    (Code.LINK_BEHIND_MISSING, lose_the_link_and_its_source, "cannot be found"),
    (Code.LINK_BEHIND_ORPHANED, orphan_a_link_that_is_the_last_name, "last name"),
    (Code.LEFTOVER, lambda one: (one.repository.layout.staging / "mine").write_bytes(b"x"), "last name"),
    (
        Code.TRASH_WITHOUT_FILES,
        lambda one: shutil.rmtree(one.repository.layout.trash / str(delete(one, PLAIN))),
        "trash empty",
    ),
    (
        Code.TRASH_WITHOUT_ROW,
        lambda one: (delete(one, PLAIN), one.sql("DELETE FROM trash"))[1],
        "look at them",
    ),
    (Code.TABLE_GONE, lambda one: table(one, "mount", "", "alice_2/cells.tiledb"), "unregister"),
    (Code.TABLE_GONE, lambda one: table(one, "source", "scope1", "cells.tiledb"), "unregister"),
]
NOTED: list[tuple[Code, Damage]] = [
    (Code.REMOVAL_DUE, lambda one: one.sql("UPDATE origins SET removal = 'due' WHERE transfer = 'ln'")),
    (Code.TABLE_HALF_MADE, lambda one: one.dropped(b".cells.tiledb.0123abcd/__schema").mkdir(parents=True)),
    (Code.TABLE_OFFLINE, lambda one: (table(one, "source", "scope1", "cells.tiledb"), remove_the_source(one))),
    (
        Code.TABLE_OFFLINE,
        lambda one: (table(one, "source", "scope1", "c"), remove_the_source(one), one.outside.mkdir()),
    ),
    (Code.TABLE_OFFLINE, lambda one: table(one, "store", "none", "cells.tiledb")),
]


@pytest.mark.parametrize(("code", "damage", "reason"), LEFT, ids=[str(code) for code, _, _ in LEFT])
def test_what_cannot_be_mended_stays_as_it_is_and_says_why(
    one: Checked, code: Code, damage: Damage, reason: str
) -> None:
    damage(one)
    before = everything(one)
    for options in ((), ("--repair",), ("--repair",)):
        exit_code, findings = one.fsck(*options)
        assert exit_code & 4
        [finding, *_] = [finding for finding in findings if finding["code"] == code]
        assert not finding["repaired"] and (not options or reason in finding["why_not"])
    assert everything(one) == before


@pytest.mark.parametrize(("code", "damage"), NOTED, ids=[str(code) for code, _ in NOTED])
def test_what_is_no_fault_is_a_note(one: Checked, code: Code, damage: Damage) -> None:
    damage(one)
    for options in ((), ("--repair",)):
        exit_code, findings = one.fsck(*options)
        assert (exit_code, [(finding["code"], finding["severity"]) for finding in findings]) == (0, [(code, "note")])


def test_what_was_deleted_is_no_fault(one: Checked) -> None:
    thumbnail(one).unlink()  # as the daemon does
    for name in (PLAIN, ARRAY, LINKED, NAMED):
        delete(one, name)
    assert one.fsck("--repair") == (0, [])


def test_a_copy_of_what_was_deleted_is_a_file_like_any_other(one: Checked) -> None:
    copy = Path(shutil.copy2(one.dropped(ARRAY), one.dropped(b"copy")))
    number = delete(one, ARRAY)
    with one.repository.engine.begin() as conn:
        deleted = trash.get(conn, number)
    disposal(one).empty(deleted, 5000)
    assert one.codes("--repair") == (1, {"mark-copied"})
    assert one.fsck() == (0, [])
    assert one.repository.mark(copy) is None and copy.read_bytes() == b"pixels"


def test_ids_in_the_trash_are_not_given_again(one: Checked) -> None:
    columns = [row[1] for row in one.sql("PRAGMA table_info(trash)")]
    values = {"owner_id": 2, "group_id": 3, "step": "kept"}
    values["rows"] = json.dumps({"rows": {"images": [{"id": 4711}], "filesets": []}})
    (one.repository.layout.trash / "1" / "files").mkdir(parents=True)
    known = [values.get(column, 1) for column in columns]
    one.sql(f"INSERT INTO trash VALUES ({', '.join('?' for _ in known)})", *known)
    code, [note, finding] = one.fsck("--repair")
    assert (code, note["code"]) == (1, "record-missing")
    assert (finding["where"], finding["text"].endswith("4711 is in use")) == ("Image", True)
    assert one.sql("SELECT next FROM ids WHERE kind = 'Image'") == [(4712,)]


@pytest.mark.parametrize("hidden", [".trash/1", ".arriving/1"])
def test_the_link_behind_a_stand_in_that_is_not_shown_stays(one: Checked, hidden: str) -> None:
    """As of what was deleted, or is on its way."""
    place = one.repository.layout.managed / hidden
    place.mkdir(parents=True)
    link = one.repository.layout.linked / str(one.original(LINKED).stat().st_ino)
    os.link(one.original(LINKED), place / "linked.tif")
    one.original(LINKED).unlink()
    one.dropped(LINKED).unlink()
    assert "link-behind-orphaned" not in one.codes()[1]
    assert link.read_bytes() == b"bytes of " + LINKED


def test_what_lies_deep_is_looked_at(one: Checked) -> None:
    path = b"/".join([b"d"] * 1500)
    fd = os.open(one.dropped(b"."), os.O_RDONLY)
    for name in path.split(b"/"):
        os.mkdir(name, dir_fd=fd)
        above, fd = fd, os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    os.close(os.open("a.tif", os.O_CREAT | os.O_WRONLY, 0o644 | ORIGINAL_BIT, dir_fd=fd))
    os.chmod("a.tif", 0o644 | ORIGINAL_BIT, dir_fd=fd)
    os.close(fd)
    try:
        assert one.codes() == (4, {Code.BIT_WITHOUT_MARK})
    finally:
        subprocess.run(["rm", "-rf", one.dropped(b"d")], check=True)  # too deep for pytest


def test_each_code_is_tested() -> None:
    tested = {code for code, *_ in (*REPAIRED, *LEFT, *NOTED)} | {Code.CATALOGUE_DAMAGED, Code.OWNER_DIFFERS}
    assert tested == set(Code) == set(TABLE)


def test_of_a_damaged_catalogue_nothing_is_compared(one: Checked) -> None:
    path = one.repository.layout.catalogue
    one.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    [[page]] = one.sql("SELECT rootpage FROM sqlite_master WHERE name = 'filesets'")
    [[size]] = one.sql("PRAGMA page_size")
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"?" * size)
    for options in ((), ("--repair",)):
        exit_code, found = one.codes(*options)
        assert (exit_code, found) == (4, {"catalogue-damaged"})


def test_what_comes_back_from_a_backup_gets_its_mark(one: Checked) -> None:
    path = one.original(PLAIN)
    lose_the_file(one)
    path.write_bytes(b"pixels")
    assert one.codes("--repair") == (1, {"mark-missing"})
    assert one.fsck() == (0, [])
    assert isinstance(one.repository.mark(path), Original)


def test_the_thumbnail_of_what_was_deleted_stays_and_one_that_is_to_be_made_may_be_there(one: Checked) -> None:
    path = thumbnail(one)
    one.sql("UPDATE images SET thumbnail = NULL")  # as when the daemon dies before it says that it is made
    assert one.fsck() == (0, [])
    one.sql("UPDATE images SET thumbnail = 'made'")
    delete(one, PLAIN)
    assert one.fsck("--repair") == (0, [])
    assert path.exists()
