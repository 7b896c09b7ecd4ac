"""repofs thumbnails: what a file manager finds in its cache, by freedesktop.org's standard."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from repofs import mounts
from repofs.cli import thumbnail_cache
from repofs.cli.exit_codes import ExitCode
from repofs.mounts import Mount
from tests.helpers.command_line import repofs


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "thumbnails"


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mountpoint whose Image:101 has a thumbnail."""
    place = tmp_path / "mnt"
    (place / ".repofs" / "thumbnails").mkdir(parents=True)
    Image.new("L", (256, 64), 99).save(place / ".repofs" / "thumbnails" / "Image-101.png")
    mount = Mount(7, place, "fuse.repofs", tmp_path / "repository")

    def containing(path: Path) -> Mount | None:
        path.stat()
        return mount if path.resolve().is_relative_to(place) else None

    monkeypatch.setattr(mounts, "containing", containing)
    return place


def original(path: Path, images: str | None = "Image:101") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if images is not None:
        os.setxattr(path, "user.repofs.images", images.encode())
    os.utime(path, ns=(1_700_000_000_999_999_999,) * 2)
    return path


def shown(cache: Path, size: str, uri: str) -> PngImageFile:
    path = cache / size / f"{hashlib.md5(uri.encode()).hexdigest()}.png"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    picture = Image.open(io.BytesIO(path.read_bytes()))
    assert isinstance(picture, PngImageFile)
    return picture


def test_originals_below_a_directory_are_shown_by_file_managers(top: Path, cache: Path) -> None:
    names = ["scan.tif", "deep/b c%é#;.tif"]
    for name in names:
        original(top / "alice_2" / name)
    original(top / "alice_2" / "notes.txt", images=None)
    original(top / "alice_2" / ".hidden" / "scan.tif")
    os.symlink("scan.tif", top / "alice_2" / "link.tif")
    said = repofs("thumbnails", top / "alice_2")
    assert (said.code, said.out) == (ExitCode.DONE, "2 thumbnails written\n")
    for name in ("scan.tif", "deep/b%20c%25%C3%A9%23%3B.tif"):
        uri = f"file://{top}/alice_2/{name}"
        for size, pixels in (("normal", (128, 32)), ("large", (256, 64))):
            picture = shown(cache, size, uri)
            assert (picture.size, picture.mode, picture.getpixel((5, 5))) == (pixels, "RGBA", (99, 99, 99, 255))
            assert picture.text == {"Thumb::URI": uri, "Thumb::MTIME": "1700000000"}
    assert sum(1 for _ in cache.rglob("*.png")) == sum(1 for one in cache.rglob("*") if one.is_file()) == 4


def test_files_are_named_one_by_one_and_an_image_without_a_picture_is_counted(top: Path, cache: Path) -> None:
    named = original(top / "scan.tif", "Image:101,Image:102")
    without = original(top / "other.tif", "Image:102,Image:101")
    said = repofs("thumbnails", named, without, named)
    assert (said.code, said.out) == (ExitCode.DONE, "2 thumbnails written, 1 images have none\n")
    assert shown(cache, "large", f"file://{named}").size == (256, 64)
    assert sum(1 for _ in cache.rglob("*.png")) == 2


def test_what_lies_in_no_mount_is_refused(top: Path, cache: Path, tmp_path: Path) -> None:
    file = original(tmp_path / "scan.tif")
    assert repofs("thumbnails", file).code == ExitCode.INVALID
    assert repofs("thumbnails", tmp_path / "none").code == ExitCode.NOT_FOUND
    assert not cache.exists()


def test_a_write_that_fails_leaves_nothing(top: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = original(top / "scan.tif")
    (cache / "normal" / f"{hashlib.md5(f'file://{file}'.encode()).hexdigest()}.png").mkdir(parents=True)
    assert repofs("thumbnails", file).code != ExitCode.DONE
    assert [one for one in cache.rglob("*") if one.is_file()] == []


@pytest.mark.parametrize("named", ["", "relative"])
def test_without_a_cache_directory_it_is_the_home_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    picture = io.BytesIO()
    Image.new("RGB", (10, 10)).save(picture, "PNG")
    thumbnail_cache.put(b"/mnt/\xff.tif", 1_500_000_000, picture.getvalue())
    assert shown(tmp_path / ".cache" / "thumbnails", "normal", "file:///mnt/%FF.tif").size == (10, 10)
