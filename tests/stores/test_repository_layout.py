"""What a repository directory holds, who may enter it, and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from repofs.errors import AccessDenied, AlreadyExists, InvalidName, NotARepository
from repofs.repository.layout import Layout, load_key

ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_create_makes_everything_with_its_mode(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        layout = Layout.create(tmp_path / "new" / "repository", "[drops]\n")
    finally:
        os.umask(old)
    assert mode(layout.root) == 0o711
    assert mode(layout.managed) == 0o700
    assert mode(layout.staging) == 0o700
    assert mode(layout.failure_logs) == mode(layout.failed) == mode(layout.failed.parent) == 0o755
    assert layout.events.read_bytes() == b""
    assert mode(layout.key) == 0o600
    assert layout.settings.read_text() == "[drops]\n"
    assert not layout.catalogue.exists()
    assert Layout.open(layout.root) == layout
    assert len(load_key(layout)) == 32


def test_keys_differ(tmp_path: Path) -> None:
    assert load_key(Layout.create(tmp_path / "a", "")) != load_key(Layout.create(tmp_path / "b", ""))


def test_create_takes_an_empty_directory_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    Layout.create(tmp_path / "empty", "")
    with pytest.raises(AlreadyExists, match="not empty"):
        Layout.create(tmp_path / "empty", "")
    (tmp_path / "file").write_text("")
    with pytest.raises(AlreadyExists, match="not a directory"):
        Layout.create(tmp_path / "file", "")


def test_open_refuses_what_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(NotARepository, match="repofs init"):
        Layout.open(tmp_path)
    layout = Layout.create(tmp_path / "r", "")
    layout.key.write_bytes(b"short")
    with pytest.raises(NotARepository, match="32 bytes"):
        load_key(layout)
    layout.key.unlink()
    with pytest.raises(NotARepository, match="backup"):
        Layout.open(layout.root)
    with pytest.raises(NotARepository):
        load_key(layout)


def test_user_directory_can_be_made_again(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "r", "")
    for _ in range(2):
        layout.make_user_directory("alice_2", os.geteuid(), os.getegid())
        assert mode(layout.managed / "alice_2") == mode(layout.failed / "alice_2") == 0o700
        (layout.managed / "alice_2").chmod(0o770)


def test_an_older_repository_gets_what_it_has_not(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "r", "")
    layout.make_user_directory("alice_2", os.geteuid(), os.getegid())
    (layout.failed / "alice_2").rmdir()
    layout.failed.rmdir()
    layout.events.unlink()
    layout.make_own()
    assert layout.events.read_bytes() == b"" and os.listdir(layout.failed) == ["alice_2"]


def test_sessions_have_a_file_where_there_are_any(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "r", "")
    for _ in range(2):
        layout.make_own(session=True)
        assert layout.session.read_bytes() == b""
    layout.make_own()
    assert not layout.session.exists()


@pytest.mark.parametrize("name", ["", ".", "..", ".repofs", ".hidden", "a/b", "a\0b"])
def test_user_directory_must_be_one_visible_name(tmp_path: Path, name: str) -> None:
    layout = Layout.create(tmp_path / "r", "")
    with pytest.raises(InvalidName):
        layout.make_user_directory(name, os.geteuid(), os.getegid())


def test_user_directory_of_somebody_else(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "r", "")
    if ROOT:
        layout.make_user_directory("bob_3", 20_003, 20_004)
        status = (layout.managed / "bob_3").stat()
        assert (status.st_uid, status.st_gid, mode(layout.managed / "bob_3")) == (20_003, 20_004, 0o700)
    else:
        with pytest.raises(AccessDenied, match="only root"):
            layout.make_user_directory("bob_3", os.geteuid() + 1, os.getegid())
        assert not (layout.managed / "bob_3").exists()
