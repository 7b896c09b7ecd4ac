"""The settings file: all defaults, or a sentence that names key, value and what is allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from repofs import config
from repofs.errors import SettingsError
from repofs.events import KINDS, READ_ONLY
from repofs.people import Privilege


def write(directory: Path, text: str | bytes) -> Path:
    (directory / config.SETTINGS_FILE).write_bytes(text if isinstance(text, bytes) else text.encode())
    return directory


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    assert config.load(tmp_path) == config.Settings()
    assert {source for _, _, source in config.explain(config.load(tmp_path))} == {"default"}


def test_what_is_set_holds_and_says_where_it_comes_from(tmp_path: Path) -> None:
    settings = config.load(write(tmp_path, "[drops]\nsettle_seconds = 0.5\nexclude = ['*.log']\n"))
    assert settings.drops.settle_seconds == 0.5 and settings.drops.exclude == ("*.log",)
    said = {key: (value, source) for key, value, source in config.explain(settings)}
    assert said["drops.settle_seconds"] == (0.5, "settings.toml")
    assert said["drops.duplicates"][1] == "default"
    assert set(said) == set(config.known_keys())


def test_administrators_have_all_privileges_unless_it_says_which(tmp_path: Path) -> None:
    text = "[[administrators]]\ngroup = 'admins'\n[[administrators]]\ngroup = 'curators'\nprivileges = ['Chgrp']\n"
    settings = config.load(write(tmp_path, text))
    first, second = settings.administrators
    assert set(first.privileges) == set(Privilege) and second.privileges == (Privilege.CHGRP,)
    said = {key: (value, source) for key, value, source in config.explain(settings)}
    assert said["administrators"][1] == "settings.toml"
    assert json.loads(json.dumps(said["administrators"][0]))[1] == {"group": "curators", "privileges": ["Chgrp"]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[drops]\nsetle_seconds = 3\n", ["drops.setle_seconds", "drops.settle_seconds"]),
        ("[drop]\nsettle_seconds = 3\n", ["drop ", "drops.settle_seconds"]),
        ("[drops]\nsettle_seconds = 0\n", ["drops.settle_seconds", "0", "greater than or equal to 0.1"]),
        ("[drops]\nsettle_seconds = nan\n", ["drops.settle_seconds", "nan"]),
        ("[drops]\nsettle_seconds = 'soon'\n", ["drops.settle_seconds", "'soon'"]),
        ("[drops]\nduplicates = 'keep'\n", ["drops.duplicates", "'keep'", "'import'", "'refuse'"]),
        ("[imports]\nchecksum_algorithm = 'SHA1'\n", ["imports.checksum_algorithm", "'SHA1'", "'SHA1-160'"]),
        ("[imports]\nparallel = 0\n", ["imports.parallel", "0"]),
        ("drops = 3\n", ["drops", "3"]),
        ("[people]\nrefresh_seconds = 0\n", ["people.refresh_seconds", "0"]),
        ("[[sources]]\nname = 'a b'\npath = '/data'\n", ["sources.0.name", "'a b'"]),
        ("[[sources]]\nname = 'a'\npath = 'data'\n", ["sources.0.path", "'data'", "starts with /"]),
        ("[[sources]]\nname = 'a'\npath = '/d'\n[[sources]]\nname = 'a'\npath = '/e'\n", ["source a", "twice"]),
        ("[[dropbox]]\nname = 'a'\npath = 'data'\n", ["dropbox.0.path", "'data'", "starts with /"]),
        ("[[dropbox]]\nname = 'a'\npath = '/d'\nsettle = 3\n", ["dropbox.0.settle"]),
        ("[[dropbox]]\nname = 'a'\npath = '/d'\nmarker = 'a/b'\n", ["dropbox.0.marker", "'a/b'"]),
        ("[[dropbox]]\nname = 'a'\npath = '/d'\n[[sources]]\nname = 'a'\npath = '/e'\n", ["source a", "twice"]),
        ("[[dropbox]]\nname = 'a'\npath = '/d'\n[[dropbox]]\nname = 'b'\npath = '/d/e'\n", ["b lies in the dropbox a"]),
        ("[[hooks]]\nname = 'a'\n", ["the hook a", "exactly one"]),
        ("[[hooks]]\nname = 'a'\ncommand = ['/x']\nwebhook = 'https://h/'\n", ["the hook a", "exactly one"]),
        ("[[hooks]]\nname = 'a'\ncommand = ['x']\n", ["the hook a", "whole path"]),
        ("[[hooks]]\nname = 'a'\non = ['settling']\ncommand = ['/x']\n", ["hooks.0.on.0", "'settling'", "'failed'"]),
        ("[[hooks]]\nname = 'a'\ncommand = ['/x']\n[[hooks]]\nname = 'a'\ncommand = ['/x']\n", ["hook a", "twice"]),
        ("[[hooks]]\nname = 'a'\n[hooks.mail]\nserver = 'h'\nfrom = 'a'\nto = 'b@c'\n", ["mail.from", "{user}"]),
        (
            "[[hooks]]\nname = 'a'\n[hooks.mail]\nserver = 'h'\nfrom = 'a@b'\nto = 'b@c'\nlogin = 'x'\n",
            ["login", "password_file"],
        ),
        ("[administrators]\ngroup = 'admins'\n", ["administrators", "tuple"]),
        ("[[administrators]]\nprivileges = []\n", ["administrators.0.group", "required"]),
        ("[[administrators]]\ngroup = ''\n", ["administrators.0.group", "''"]),
        ("[[administrators]]\ngroup = 'a'\nprivileges = ['Su']\n", ["administrators.0.privileges.0", "'Su'", "'Sudo'"]),
        ("[drops\n", ["is not TOML"]),
        (b"\xff\xfe", ["is not TOML"]),
    ],
)
def test_a_wrong_file_is_refused_by_key_and_value(tmp_path: Path, text: str | bytes, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load(write(tmp_path, text))
    assert all(word in str(caught.value) for word in [config.SETTINGS_FILE, *named]), str(caught.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"parallel.*workers|workers.*parallel"):
        config.load(write(tmp_path, "[imports]\nparallel = 0\n[readers]\nworkers = 0\n"))


def test_watched_folders_are_declared_sources(tmp_path: Path) -> None:
    text = "[[sources]]\nname = 's'\npath = '/s'\n[[dropbox]]\nname = 'd'\npath = '/d'\n"
    settings = config.load(write(tmp_path, text))
    assert [(one.name, str(one.path)) for one in settings.declared_sources()] == [("s", "/s"), ("d", "/d")]
    assert settings.dropbox[0].transfer == "upload"


@pytest.mark.parametrize(
    "text",
    [
        "webhook = 'ftp://bot:s3cret@example.org/'",
        "webhook = 'https://bot:s3cret@example.org/ '",
        "webhook = 'https://bot:s3cret@example.org/'\ncommand = ['/x']",
        "webhook = 's3cret'",
        "webhook = ['s3cret']",
    ],
)
def test_a_webhook_that_is_refused_is_not_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"hooks\.0") as caught:
        config.load(write(tmp_path, f"[[hooks]]\nname = 'chat'\n{text}\n"))
    assert "s3cret" not in str(caught.value)


def test_a_webhook_that_is_taken_is_not_told(tmp_path: Path) -> None:
    url = "https://bot:s3cret@example.org:8443/x?token=y"
    settings = config.load(write(tmp_path, f"[[hooks]]\nname = 'chat'\nwebhook = '{url}'\n"))
    [hook] = settings.hooks
    assert hook.webhook is not None and hook.webhook.get_secret_value() == url
    assert "s3cret" not in repr(settings) + json.dumps(config.explain(settings))


def test_a_hook_may_be_on_each_kind_of_event() -> None:
    assert set(get_args(config.EventKind)) == {READ_ONLY, *(str(kind) for kind in KINDS)}
