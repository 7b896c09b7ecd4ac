"""News: what stands in a line of the stream."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from repofs.events import KINDS, News
from repofs.lifecycle import RESTING, State

ROOT = Path(__file__).parents[2]
NEWS = News(
    7, 41, "2026-11-22T21:15:03.123+00:00", State.FAILED, "alice", b"alice_2", 5000, 5001, b"P/scan.tif", None, None,
    "the disk is full: make room, then retry", b".repofs/log/alice_2/41.log",
)  # fmt: skip


def test_a_line_has_these_keys_in_this_order() -> None:
    facts = json.loads(NEWS.line())
    assert list(facts.items()) == [
        ("time", "2026-11-22T21:15:03.123+00:00"),
        ("event", "failed"),
        ("user", "alice"),
        ("actor_uid", 5001),
        ("path", "alice_2/P/scan.tif"),
        ("source", None),
        ("object", None),
        ("error", "the disk is full: make room, then retry"),
        ("log", ".repofs/log/alice_2/41.log"),
        ("import", 41),
    ]


def test_what_has_no_name_in_the_mount_is_told_by_its_source() -> None:
    facts = replace(NEWS, source=b"scope/P/scan.tif", kind=State.IMPORTED, fileset=17, error=None).facts()
    assert (facts["path"], facts["source"], facts["object"]) == (None, "scope/P/scan.tif", "Fileset:17")


def test_any_name_is_one_line_of_ascii() -> None:
    name = b'a\nb\xff\x1b[31m\xe2\x80\xa8".tif'
    line = replace(NEWS, path=name, error="x" * 100_000).line()
    assert line.isascii() and line.count(b"\n") == 1 and line.endswith(b"}\n") and len(line) < 3000
    assert json.loads(line)["path"].encode("utf-8", "surrogateescape") == b"alice_2/" + name


def test_the_page_lists_each_kind_and_each_key() -> None:
    page = (ROOT / "docs" / "reference" / "events.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", page, flags=re.MULTILINE)
    assert rows[: len(KINDS)] == [(kind.value, text) for kind, text in KINDS.items()]
    assert [name for name, _ in rows[len(KINDS) :]] == list(NEWS.facts())


def test_every_state_that_the_catalogue_rests_in_is_news() -> None:
    assert set(KINDS) == RESTING - {State.INCOMPLETE}  # which no import is ever in
