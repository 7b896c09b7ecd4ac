"""What a path or URI of an array means: nothing but what the settings declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from repofs.config import PathMap, Settings, Source, Store, Tables
from repofs.errors import InvalidValue, NotFound
from repofs.registration.path_maps import PathMaps
from repofs.registration.places import Places
from repofs.repository.layout import Layout
from repofs.repository.sources import Sources
from repofs.table import Place

MAPS = (
    PathMap(client="J:\\", server=Path("/data")),
    PathMap(client=r"J:\tables\deep", server=Path("/deep")),
    PathMap(client=r"\\Host\share", server=Path("/data/share")),
    PathMap(client="/Volumes/tables", server=Path("/data/tables/")),
)


@pytest.mark.parametrize(
    ("written", "here"),
    [
        (r"J:\tables\x.tiledb", "/data/tables/x.tiledb"),
        ("j:/Tables/x.tiledb", "/data/Tables/x.tiledb"),
        (r"J:\/x.tiledb", "/data/x.tiledb"),  # as PosixPath("J:\\") / "x.tiledb" makes it
        (r"J:\tables\deep\x.tiledb", "/deep/x.tiledb"),
        (r"J:\TABLES/deep\\x.tiledb", "/deep/x.tiledb"),
        (r"J:\tables\deeper\x.tiledb", "/data/tables/deeper/x.tiledb"),
        (r"\\host\SHARE\x.tiledb", "/data/share/x.tiledb"),
        ("//HOST/share/x.tiledb", "/data/share/x.tiledb"),
        ("/Volumes/tables/x.tiledb", "/data/tables/x.tiledb"),
        ("/volumes/tables/x.tiledb", "/volumes/tables/x.tiledb"),  # POSIX has regard to case
        ("/Volumes/tablesx/x.tiledb", "/Volumes/tablesx/x.tiledb"),
        ("/mnt/repofs/x.tiledb", "/mnt/repofs/x.tiledb"),
    ],
)
def test_the_longest_prefix_counts(written: str, here: str) -> None:
    assert PathMaps(MAPS).local(written) == here


@pytest.mark.parametrize("written", [r"K:\x.tiledb", r"\\other\share\x", "//host/x", "C:x"])
def test_a_windows_path_without_a_map_is_refused(written: str) -> None:
    with pytest.raises(InvalidValue, match=r"tables\.paths"):
        PathMaps(MAPS).local(written)


@pytest.mark.parametrize("written", [r"J:\..\etc\x", r"J:/tables/../../etc", "/Volumes/tables/../../etc/x"])
def test_no_map_leads_upwards(written: str) -> None:
    with pytest.raises(InvalidValue, match=r"without \.\."):
        PathMaps(MAPS).local(written)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("repository", "data", "mnt"):
        (tmp_path / name).mkdir()
    layout = Layout.create(tmp_path / "repository", "")
    settings = Settings(
        tables=Tables(
            paths=(PathMap(client="T:", server=tmp_path / "data"), PathMap(client="E:", server=Path("/etc")))
        ),
        sources=(Source(name="data", path=tmp_path / "data"),),
        stores=(
            Store(name="lab", uri="s3://bucket/tables"),
            Store(name="inner", uri="s3://bucket/tables/inner/"),
            Store(name="whole", uri="s3://whole"),
        ),
    )
    return Places(layout, settings, Sources(settings.declared_sources(), layout.root), tmp_path / "mnt")


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("{}/mnt/alice_2/x.tiledb", Place("mount", "", b"alice_2/x.tiledb")),
        ("{}/mnt//alice_2/./x.tiledb/", Place("mount", "", b"alice_2/x.tiledb")),
        ("x.tiledb", Place("mount", "", b"alice_2/P/x.tiledb")),
        ("{}/data/x.tiledb", Place("source", "data", b"x.tiledb")),
        ("{}/data/%2e%2e/x.tiledb", Place("source", "data", b"%2e%2e/x.tiledb")),  # a name like any other
        (r"t:\deep\x.tiledb", Place("source", "data", b"deep/x.tiledb")),
        ("s3://bucket/tables/a/x.tiledb", Place("store", "lab", b"a/x.tiledb")),
        ("s3:/bucket/tables/a/x.tiledb", Place("store", "lab", b"a/x.tiledb")),
        ("s3://bucket/tables/inner/x.tiledb/", Place("store", "inner", b"x.tiledb")),
        ("s3://whole/x", Place("store", "whole", b"x")),
    ],
)
def test_what_is_declared_has_a_place(places: Places, tmp_path: Path, uri: str, place: Place) -> None:
    assert places.locate(uri.format(tmp_path), b"alice_2/P") == place


@pytest.mark.parametrize(
    "uri",
    [
        "/etc/passwd",
        "{}/mnt",
        "{}/mnt/../repository/x",
        "{}/mntx/x.tiledb",
        "{}/repository/ManagedRepository/alice_2/x.tiledb",
        "{}/data/../repository/key",
        "../bob_3/x.tiledb",
        r"E:\passwd",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "http://169.254.169.254/latest",
        "http:/169.254.169.254/latest",
        "https://example.org/x.tiledb",
        "gs://bucket/x",
        "tiledb://namespace/x",
        "mem://x",
        "S4://bucket/x",
        "s3://other-bucket/tables/x",
        "s3://bucket/other/x",
        "s3://bucket/tables",
        "s3://bucket/tablesx/x",
        "s3://bucket/tables/../other/x",
        "s3://bucket/tables//x",
        "s3://bucket/tables/./x",
        "s3://bucket/tables/%2e%2e/x",
        "s3://bucket/tables/x?versionId=1",
        "s3://bucket@evil.example/tables/x",
        r"s3://bucket/tables/..\x",
    ],
)
def test_all_else_is_refused_by_its_text(places: Places, tmp_path: Path, uri: str) -> None:
    with pytest.raises(InvalidValue, match="uri="):
        places.locate(uri.format(tmp_path), b"alice_2")


def test_a_relative_path_needs_a_directory(places: Places) -> None:
    with pytest.raises(InvalidValue, match="starts with /"):
        places.locate("x.tiledb")


def test_a_store_that_is_declared_no_more_is_not_found(places: Places) -> None:
    with pytest.raises(NotFound, match="no declared store"):
        places.open(Place("store", "former", b"x"), None)
