"""repofs audit: what people and programs read of the trail."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path

import pytest

from repofs import mounts
from repofs.catalog import audit
from repofs.catalog.engine import open_engine
from repofs.cli.exit_codes import ExitCode
from repofs.deeds import Deed
from repofs.mounts import Mount
from tests.helpers.command_line import repofs

ME = os.getuid()
NOBODY = 4_000_000_000  # a uid that this machine has no account for
NOON = 1_795_348_800_000_000_000  # 2026-11-22T12:00:00Z
HOSTILE = b"alice_2/\xff\n\x1b[2J/x.tif"
REFUSAL = "bob may not remove this: it is another user's, in a private group"

DEEDS = (
    Deed(NOON - 10**9, ME, "group.add", "ExperimenterGroup:3", None, None, {"gid": "7001"}),
    Deed(NOON, ME, "remove", None, b"alice_2/P/x.tif"),
    Deed(NOON + 10**9, NOBODY, "remove", None, HOSTILE, REFUSAL),
    Deed(NOON + 2 * 10**9, NOBODY, "view", None, b"alice_2/P/", "no\x1b]0;", {}, 9950),
    Deed(NOON + 3 * 10**9, ME, "chgrp", "Fileset:17", b"alice_2/Q", None, {"from": "lab", "to": "a\nb"}),
)


@pytest.fixture
def trail(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a few deeds of one noon."""
    engine = open_engine(repository / "catalogue.sqlite")
    with engine.begin() as conn:
        audit.add(conn, DEEDS)
    engine.dispose()
    monkeypatch.setattr(mounts, "of_repository", lambda _: None)
    return repository


def lines(trail: Path, *words: str | Path) -> list[str]:
    answer = repofs("-C", trail, "audit", *words)
    assert (answer.code, answer.err) == (ExitCode.DONE, "")
    return answer.out.splitlines()


def acts(trail: Path, *words: str | Path) -> list[str]:
    return [json.loads(line)["act"] for line in lines(trail, "--json", *words)]


def test_a_line_tells_who_did_what_to_what_and_why_not(trail: Path) -> None:
    me = f"{pwd.getpwuid(ME).pw_name} ({ME})"
    told = lines(trail, "--since", "2026-11-22T12:00+00:00")
    assert [line.split("  ")[1:] for line in told] == [
        [me, "remove", "alice_2/P/x.tif"],
        [f"uid {NOBODY}", "remove", r"alice_2/\udcff\n\x1b[2J/x.tif", f"refused: {REFUSAL}"],
        [f"uid {NOBODY}", "view", "alice_2/P/", "9,950 times", r"refused: no\x1b]0;"],
        [me, "chgrp", "Fileset:17 alice_2/Q", r"from=lab to=a\nb"],
    ]


def test_the_time_is_this_machines_and_can_be_given_back(trail: Path) -> None:
    [last] = lines(trail, "--object", "Fileset:17")
    assert lines(trail, "--object", "Fileset:17", "--since", last.split("  ")[0]) == [last]


def test_json_has_everything(trail: Path) -> None:
    [one] = [json.loads(line) for line in lines(trail, "--json", "--object", os.fsdecode(HOSTILE))]
    assert one == {
        "time": "2026-11-22T12:00:01.000+00:00",
        "actor_uid": NOBODY,
        "actor": None,
        "act": "remove",
        "target": None,
        "path": os.fsdecode(HOSTILE),
        "refusal": REFUSAL,
        "detail": {},
        "times": 1,
    }


def test_it_can_be_narrowed(trail: Path) -> None:
    assert acts(trail, "--user", str(NOBODY)) == ["remove", "view"]
    assert acts(trail, "--user", pwd.getpwuid(ME).pw_name) == ["group.add", "remove", "chgrp"]
    assert acts(trail, "--since", "2026-11-22T12:00:02Z") == ["view", "chgrp"]
    assert acts(trail, "--refused") == ["remove", "view"]
    assert acts(trail, "--object", "Fileset:17") == ["chgrp"]
    assert acts(trail, "--object", "alice_2/P") == ["remove", "view"]
    assert acts(trail, "--object", "./alice_2/Q/") == ["chgrp"]
    assert acts(trail, "--object", ".") == ["remove", "remove", "view", "chgrp"]
    assert acts(trail, "--object", "alice_2", "--refused", "--user", str(ME)) == []
    assert lines(trail, "--since", "9999-12-30") == []


def test_a_path_in_the_mount_is_one_below_it(trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "mnt" / "alice_2"
    directory.mkdir(parents=True)
    (tmp_path / "link").symlink_to("mnt")
    mounted = Mount(1, tmp_path / "mnt", "fuse.repofs", trail)
    monkeypatch.setattr(mounts, "of_repository", lambda _: mounted)
    for words in (directory / "Q", tmp_path / "link" / "alice_2" / "Q", "alice_2/Q"):
        assert acts(trail, "--object", words) == ["chgrp"]
    assert len(acts(trail, "--object", tmp_path / "mnt")) == 4
    monkeypatch.chdir(directory)
    assert acts(trail, "--object", "Q") == ["chgrp"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--since", "yesterday"), ExitCode.INVALID),
        (("--object", "Fileset:x"), ExitCode.INVALID),
        (("--object", "/somewhere/else"), ExitCode.INVALID),
        (("--user", "nobody-of-that-name"), ExitCode.NOT_FOUND),
    ],
)
def test_it_refuses_what_it_cannot_read(trail: Path, words: tuple[str, str], code: ExitCode) -> None:
    answer = repofs("-C", trail, "audit", *words)
    assert (answer.code, answer.out) == (code, "")
    assert len(answer.err.splitlines()) == 1
