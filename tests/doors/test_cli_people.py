"""init, user, group, config, originals: the commands that work on the repository itself."""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
import tomllib
from pathlib import Path

import pytest

from repofs import config
from repofs.catalog.engine import open_engine
from repofs.cli.exit_codes import ExitCode
from repofs.people import Privilege
from tests.helpers.catalogue import Import, imported, lab
from tests.helpers.command_line import repofs
from tests.helpers.nss import Nss

ME = os.getuid()
ALICE, UID = ("alice", 4001) if ME == 0 else (pwd.getpwuid(ME).pw_name, ME)  # who can be given a directory
root_only = pytest.mark.skipif(ME != 0, reason="gives files to other users, which only root can")


def _mode(repository: Path, directory: str) -> int:
    return stat.S_IMODE((repository / "ManagedRepository" / directory).stat().st_mode)


# --- init and config -----------------------------------------------------------------------------


def test_init_writes_settings_that_say_the_defaults(repository: Path) -> None:
    text = (repository / "settings.toml").read_text()
    assert config.load(repository) == config.Settings()
    settings = tomllib.loads("\n".join(_uncommented(line) for line in text.splitlines()))
    [administrators] = settings.pop("administrators")
    assert config.Administrators.model_validate(administrators).privileges == tuple(Privilege)
    lists = {name: settings.pop(name) for name in [*settings] if isinstance(settings[name], list)}
    config.Settings.model_validate(lists)
    shown = {f"{section}.{key}" for section, keys in settings.items() for key in keys}
    without = {key for key, value, _ in config.explain(config.Settings()) if value is None}  # TOML has no word for it
    assert shown == set(config.known_keys()) - {"administrators", *lists} - without
    examples = {line.split()[1] for line in text.splitlines() if line.startswith("#   ")}
    assert {key.rpartition(".")[2] for key in without} <= examples
    assert config.Settings.model_validate(settings) == config.Settings()


def _uncommented(line: str) -> str:
    example = line.startswith("#   ")
    setting = line.startswith("# [[") or (" = " in line and line.startswith("# ") and line.split()[1].islower())
    if example:
        return line
    return line.removeprefix("# ") if setting else line


def test_init_refuses_what_is_not_empty(repository: Path) -> None:
    answer = repofs("init", repository)
    assert answer.code == ExitCode.EXISTS
    assert "not empty" in answer.err


def test_init_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert repofs("init", tmp_path / "file" / "repository").code == ExitCode.INVALID


def test_config_says_where_each_value_comes_from(repository: Path) -> None:
    (repository / "settings.toml").write_text("[drops]\nsettle_seconds = 9\n")
    told = {one["key"]: one for one in repofs("-C", repository, "config", "--json").json}
    assert set(told) == set(config.known_keys())
    assert told["drops.settle_seconds"] == {"key": "drops.settle_seconds", "value": 9.0, "from": "settings.toml"}
    assert told["drops.duplicates"] == {"key": "drops.duplicates", "value": "import", "from": "default"}
    assert "drops.settle_seconds" in repofs("-C", repository, "config").out


@pytest.mark.parametrize("text", ["[drops]\nsettle = 9\n", "[drops]\nsettle_seconds = 0\n", "[drops\n"])
def test_config_refuses_wrong_settings(repository: Path, text: str) -> None:
    (repository / "settings.toml").write_text(text)
    assert repofs("-C", repository, "config").code == ExitCode.INVALID


# --- user ----------------------------------------------------------------------------------------


def test_the_first_user_gets_a_private_default_group(repository: Path) -> None:
    answer = repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID))
    assert answer.code == 0, answer.err
    assert f"Experimenter:2 of default, with the directory {ALICE}_2" in answer.out
    assert _mode(repository, f"{ALICE}_2") == 0o700
    [group] = repofs("-C", repository, "group", "list", "--json").json
    expected = grp.getgrnam("users").gr_gid if ME == 0 else os.getegid()
    assert group == {
        "id": 3, "group": "default", "gid": expected, "permissions": "private",
        "members": [ALICE], "owners": [], "by_unix_group": [],
    }  # fmt: skip


@root_only
def test_users_are_listed(repository: Path) -> None:
    repofs("-C", repository, "user", "add", "root")
    repofs("-C", repository, "user", "add", "bob", "--uid", "4002")
    repofs("-C", repository, "user", "remove", "bob")
    first, second = repofs("-C", repository, "user", "list", "--json").json
    assert first == {
        "id": 2, "user": "root", "uid": 0, "account": "root", "group": "default", "directory": "root_2",
        "removed": None,
    }  # fmt: skip
    assert second["user"] == "bob" and second["removed"].startswith("20")
    table = repofs("-C", repository, "user", "list").out.splitlines()
    assert table[0].split() == ["ID", "USER", "UID", "ACCOUNT", "GROUP", "DIRECTORY", "REMOVED"]
    assert table[1].split() == ["2", "root", "0", "root", "default", "root_2", "-"]
    assert (repository / "ManagedRepository" / "bob_3").is_dir()


def test_unknown_account(repository: Path) -> None:
    answer = repofs("-C", repository, "user", "add", "no-such-account")
    assert answer.code == ExitCode.NOT_FOUND
    assert "--uid" in answer.err


def test_a_user_who_is_there_already(repository: Path) -> None:
    repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID))
    assert repofs("-C", repository, "user", "add", ALICE, "--uid", "4009").code == ExitCode.EXISTS
    assert repofs("-C", repository, "user", "add", "alba", "--uid", str(UID)).code == ExitCode.EXISTS


def test_an_unknown_group_or_user(repository: Path) -> None:
    assert repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID), "--group", "x").code == ExitCode.NOT_FOUND
    assert repofs("-C", repository, "user", "remove", "a").code == ExitCode.NOT_FOUND
    assert repofs("-C", repository, "group", "set-permissions", "x", "private").code == ExitCode.NOT_FOUND
    assert repofs("-C", repository, "group", "add-member", "x", "a").code == ExitCode.NOT_FOUND
    assert repofs("-C", repository, "group", "remove-member", "x", "a").code == ExitCode.NOT_FOUND
    assert repofs("-C", repository, "group", "add", "no-such-group").code == ExitCode.NOT_FOUND


def test_several_groups_need_a_choice(repository: Path) -> None:
    for gid, name in enumerate(("lab", "guests"), start=4100 if ME == 0 else os.getegid()):
        assert repofs("-C", repository, "group", "add", name, "--gid", str(gid)).code == 0
    answer = repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID))
    assert answer.code == ExitCode.INVALID
    assert "--group lab or guests" in answer.err
    assert repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID), "--group", "lab").code == 0


def test_a_user_whose_directory_cannot_be_made_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "settings.toml").write_text('[repository]\ntemplate = "nothing"\n')
    assert repofs("-C", repository, "user", "add", ALICE, "--uid", str(UID)).code == ExitCode.INVALID
    (repository / "settings.toml").unlink()
    assert repofs("-C", repository, "user", "list", "--json").json == []


# --- group ---------------------------------------------------------------------------------------


@root_only
def test_permissions_are_not_kept_in_the_modes_of_directories(repository: Path) -> None:
    repofs("-C", repository, "group", "add", "lab", "--gid", "4100", "--permissions", "read-only")
    repofs("-C", repository, "group", "add", "other", "--gid", "4101")
    repofs("-C", repository, "user", "add", "alice", "--uid", "4001", "--group", "lab")
    repofs("-C", repository, "user", "add", "bob", "--uid", "4002", "--group", "other")
    status = (repository / "ManagedRepository" / "alice_2").stat()
    assert (status.st_uid, status.st_gid) == (4001, 4100)
    assert repofs("-C", repository, "group", "set-permissions", "lab", "read-write").code == 0
    assert (_mode(repository, "alice_2"), _mode(repository, "bob_3")) == (0o700, 0o700)  # the level is the mount's


@root_only
def test_members_and_owners(repository: Path) -> None:
    repofs("-C", repository, "group", "add", "lab", "--gid", "4100")
    repofs("-C", repository, "group", "add", "guests", "--gid", "4101")
    repofs("-C", repository, "user", "add", "alice", "--uid", "4001", "--group", "lab")
    assert repofs("-C", repository, "group", "add-member", "guests", "alice").code == 0
    assert repofs("-C", repository, "group", "add-member", "guests", "alice").code == ExitCode.EXISTS
    assert repofs("-C", repository, "group", "add-member", "lab", "alice", "--owner").code == 0
    assert "alice*" in repofs("-C", repository, "group", "list").out
    assert repofs("-C", repository, "group", "remove-member", "guests", "alice").code == 0
    assert repofs("-C", repository, "group", "remove-member", "lab", "alice").code == ExitCode.INVALID
    lab_, guests = repofs("-C", repository, "group", "list", "--json").json
    assert (lab_["members"], lab_["owners"], guests["members"]) == (["alice"], ["alice"], [])


@root_only
def test_members_by_unix_group_are_marked(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nss = Nss.instead(monkeypatch)
    nss.account("alice", 4001)
    nss.group("lab", 4100, ["alice", "eve"])
    nss.group("guests", 4101, ["alice"])
    for words in (("group", "add", "lab"), ("group", "add", "guests"), ("user", "add", "alice", "--group", "lab")):
        assert repofs("-C", repository, *words).code == 0
    assert repofs("-C", repository, "group", "add-member", "lab", "alice", "--owner").code == 0
    lines = [line.split("  ")[-1] for line in repofs("-C", repository, "group", "list").out.splitlines()]
    assert lines == ["MEMBERS", "alice*", "alice (Unix)"]
    assert repofs("-C", repository, "group", "remove-member", "guests", "alice").code == 0
    [_, guests] = repofs("-C", repository, "group", "list", "--json").json
    assert (guests["members"], guests["by_unix_group"]) == ([], [])


@root_only
def test_what_no_group_and_no_user_can_be(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nss = Nss.instead(monkeypatch)
    nss.account("zoe", 4001)

    def refused(*words: str) -> tuple[int, str]:
        answer = repofs("-C", repository, *words)
        return answer.code, answer.err

    assert refused("group", "add", "wheel", "--gid", "0")[0] == ExitCode.INVALID
    assert refused("group", "add", "lab", "--gid", str(2**32 - 1))[0] == ExitCode.INVALID
    assert refused("user", "add", "a/b", "--uid", "4002")[0] == ExitCode.INVALID
    assert refused("user", "add", "\udce9", "--uid", "4002")[0] == ExitCode.INVALID
    code, sentence = refused("user", "add", "alice", "--uid", "4001")
    assert (code, sentence) == (ExitCode.INVALID, "repofs: uid 4001 is the account zoe, not alice\n")
    nss.away = True
    code, sentence = refused("user", "add", "zoe")
    assert (code, "try again later" in sentence) == (ExitCode.FAILED, True)


def test_a_group_that_is_there_already(repository: Path) -> None:
    repofs("-C", repository, "group", "add", "lab", "--gid", "4100")
    assert repofs("-C", repository, "group", "add", "lab", "--gid", "4101").code == ExitCode.EXISTS


@root_only
def test_other_users_read_the_settings_and_not_the_catalogue(tmp_path: Path) -> None:
    """As a child that gives up root; the directories above the repository let it pass."""
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o711)
    repository = tmp_path / "repository"
    repofs("init", repository)
    assert _as_user(4001, "-C", repository, "config") == ExitCode.DONE
    assert _as_user(4001, "-C", repository, "originals") == ExitCode.REFUSED
    assert _as_user(4001, "-C", repository, "user", "list") == ExitCode.REFUSED
    assert _as_user(4001, "-C", repository, "user", "add", "eve", "--uid", "4001") == ExitCode.REFUSED


@root_only
def test_whose_the_repository_is_needs_no_root(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o711)
    (tmp_path / "own").mkdir()
    os.chown(tmp_path / "own", 4001, 4001)
    repository = tmp_path / "own" / "repository"
    assert _as_user(4001, "init", repository) == ExitCode.DONE
    assert _as_user(4001, "-C", repository, "user", "add", "ada", "--uid", "4001") == ExitCode.DONE
    assert _as_user(4001, "-C", repository, "user", "list") == ExitCode.DONE
    assert (
        _as_user(4001, "-C", repository, "user", "add", "eve", "--uid", "4002") == ExitCode.REFUSED
    )  # not hers to give
    assert _as_user(4002, "-C", repository, "user", "list") == ExitCode.REFUSED
    assert [one["user"] for one in repofs("-C", repository, "user", "list", "--json").json] == ["ada"]
    assert sorted(os.listdir(repository / "ManagedRepository")) == [
        ".arriving",
        ".counters",
        ".linked",
        ".people",
        ".repofs",
        ".staging",
        ".trash",
        "ada_2",
    ]


def _as_user(uid: int, *words: str | Path) -> int:
    child = os.fork()
    if child == 0:
        os.chdir("/")
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        os._exit(repofs(*words).code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- originals -----------------------------------------------------------------------------------


def test_originals_are_a_line_each(repository: Path) -> None:
    assert repofs("-C", repository, "originals", "--json").out == ""
    engine = open_engine(repository / "catalogue.sqlite")
    with engine.begin() as connection:
        alice = lab(connection).alice
        imported(connection, Import(alice, [b"a.tif"]), Import(alice, [b"caf\xe9 \x1b[2J.tif"]))
    engine.dispose()
    answer = repofs("-C", repository, "originals", "--json")
    first, second = [json.loads(line) for line in answer.out.splitlines()]
    assert first == {
        "path": "alice_2/a.tif",
        "import_path": "alice_2/2026-11/22/12-00-00.001/a.tif",
        "state": "imported",
        "size": 10,
        "checksum": "SHA1-160:00",
        "fileset": "Fileset:1",
        "images": ["Image:1"],
        "original": "OriginalFile:1",
    }
    assert os.fsencode(second["path"]) == b"alice_2/caf\xe9 \x1b[2J.tif"
    assert answer.out.isascii()
    lines = repofs("-C", repository, "originals").out.splitlines()
    assert lines[0].split() == ["OriginalFile:1", "Fileset:1", "imported", "10", "SHA1-160:00", "alice_2/a.tif"]
    assert "\x1b" not in lines[1]


# --- audit ---------------------------------------------------------------------------------------


@root_only
def test_each_change_of_people_is_in_the_audit_trail(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "4711")
    for words in (
        ("group", "add", "lab", "--gid", "7001"),
        ("user", "add", "ada", "--uid", "4001", "--group", "lab"),
        ("group", "add", "other", "--gid", "7002"),
        ("group", "add-member", "other", "ada", "--owner"),
        ("group", "remove-member", "other", "ada"),
        ("group", "set-permissions", "lab", "read-only"),
        ("user", "remove", "ada"),
    ):
        assert repofs("-C", repository, *words).code == ExitCode.DONE, words
    told = [json.loads(line) for line in repofs("-C", repository, "audit", "--json").out.splitlines()]
    trail = [(entry["actor_uid"], entry["act"], entry["target"]) for entry in told]
    group, other, person = "ExperimenterGroup:3", "ExperimenterGroup:4", "Experimenter:2"
    assert trail == [
        (4711, "group.add", group),
        (4711, "user.add", person),
        (4711, "group.add", other),
        (4711, "group.add-member", other),
        (4711, "group.remove-member", other),
        (4711, "group.set-permissions", group),
        (4711, "user.remove", person),
    ]
