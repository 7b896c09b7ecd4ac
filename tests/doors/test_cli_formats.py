"""repofs formats: what can be read here, by whom, and what an extra would add."""

from __future__ import annotations

from importlib.metadata import EntryPoint, version

import pytest

from repofs.formats import known, registry
from tests.helpers.command_line import repofs


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
