"""repofs formats: what can be read here, by whom, and what an extra would add."""

from __future__ import annotations

import re
import struct
from importlib.metadata import EntryPoint, version
from pathlib import Path
from typing import Any

import numpy
import pytest

from repofs.formats import known, registry
from tests.helpers.command_line import repofs
from tests.helpers.formats import OneFile


def test_what_can_be_read() -> None:
    rows = {row["format"]: row for row in repofs("formats", "--json").json}
    assert rows["PNG"] == {
        "format": "PNG", "suffixes": [".png"], "library": "pillow", "version": version("pillow"), "reader": "repofs",
        "installed": True, "extra": None,
    }  # fmt: skip
    lines = repofs("formats").out.splitlines()
    assert lines[0].split() == ["FORMAT", "SUFFIXES", "LIBRARY", "VERSION", "READER", "OF"]
    assert len(lines) == len(rows) + 1


def test_every_reader_names_a_library_that_is_installed() -> None:
    assert [one.format for one in known.formats() if one.version is None] == []


def test_what_an_extra_would_add(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = registry.Extra("velox", "VeloxReader", "Velox EMD", (".emd",), "no-such-library", "em")
    monkeypatch.setattr(registry, "_EXTRAS", (extra,))
    registry.missing.cache_clear()
    registry.readers.cache_clear()
    try:
        row = repofs("formats", "--json").json[-1]
        assert row == {
            "format": "Velox EMD", "suffixes": [".emd"], "library": "no-such-library", "version": None,
            "reader": "repofs", "installed": False, "extra": "repofs[em]",
        }  # fmt: skip
        assert "pip install 'repofs[em]'" in repofs("formats").out
    finally:
        registry.missing.cache_clear()
        registry.readers.cache_clear()


class Papyrus:
    """A reader that another package brings."""

    name = "Papyrus"
    suffixes = (".pap",)


def test_readers_of_third_parties_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("papyrus", "tests.doors.test_cli_formats:Papyrus", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    registry.third_parties.cache_clear()
    registry.readers.cache_clear()
    try:
        row = repofs("formats", "--json").json[0]
        assert (row["format"], row["suffixes"], row["library"]) == ("Papyrus", [".pap"], None)
        assert row["reader"] == "tests.doors.test_cli_formats:Papyrus"
    finally:
        registry.third_parties.cache_clear()
        registry.readers.cache_clear()


PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"


def test_the_reader_of_the_page_reads() -> None:
    code = next(block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "class" in block)
    made: dict[str, Any] = {}
    exec(code, made)
    reader = made["GreyReader"]()
    samples = numpy.arange(6 * 8, dtype="u1").reshape(6, 8)
    raw = b"GREY" + struct.pack("<II", 8, 6) + samples.tobytes()
    files = OneFile("scan.grey", raw)
    assert reader.accepts(raw, "scan.grey", files)
    assert reader.members("scan.grey", files) is None
    (image,) = reader.read("scan.grey", files).images
    assert (image.size_x, image.size_y, image.name) == (8, 6, "scan.grey")
    assert numpy.array_equal(reader.preview("scan.grey", files, 0, 4), samples[None, ::2, ::2])
    assert reader.read("scan.grey", OneFile("scan.grey", raw[:-1])).note is not None


def test_the_page_names_every_library_and_suffix() -> None:
    table = [line.lower() for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    for one in known.formats():
        rows = [row for row in table if any(f"{suffix}`" in row for suffix in one.suffixes)]
        assert any(str(one.library) in row for row in rows), one
        assert [suffix for suffix in one.suffixes if not any(f"{suffix}`" in row for row in rows)] == [], one.format
