"""The command line as a whole: help, errors, exit codes, completion, and which repository is meant."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from repofs import __version__, errors, mounts
from repofs.cli import exit_codes
from repofs.cli.exit_codes import ExitCode
from repofs.mounts import Mount
from tests.helpers.command_line import repofs

HEAVY = {
    "alembic",
    "asyncio",
    "numpy",
    "pandas",
    "pydantic",
    "pyfuse3",
    "rich",
    "sqlalchemy",
    "structlog",
    "tifffile",
    "trio",
}

COMMANDS = (
    "init",
    "user",
    "group",
    "mount",
    "umount",
    "status",
    "wait",
    "show",
    "log",
    "retry",
    "config",
    "originals",
    "delete",
    "trash",
    "verify",
    "fsck",
    "rehome",
    "audit",
)


def test_help_has_a_line_for_every_command() -> None:
    answer = repofs("--help")
    assert answer.code == 0
    for name in COMMANDS:
        assert any(line.split()[:1] == [name] and len(line.split()) > 2 for line in answer.out.splitlines()), name
    assert max(map(len, answer.out.splitlines())) <= 80 and "..." not in answer.out.partition("Commands")[2]


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import json, sys\nfrom repofs.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}
    assert not loaded & HEAVY


def test_version() -> None:
    assert repofs("--version").out == f"repofs {__version__}\n"


@pytest.mark.parametrize("words", [["--nonsense"], ["nonsense"], ["mount"], ["group", "set-permissions", "g", "open"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str]) -> None:
    answer = repofs(*words)
    assert answer.code == ExitCode.USAGE
    assert "Usage:" in answer.err


def test_without_a_repository_the_sentence_says_how_to_name_one() -> None:
    answer = repofs("config")
    assert answer.code == ExitCode.NO_REPOSITORY
    assert answer.err.startswith("repofs: ") and answer.err.count("\n") == 1
    assert "-C DIR" in answer.err and "REPOFS_REPOSITORY" in answer.err


@pytest.mark.parametrize("command", [["config"], ["user", "list"], ["group", "list"], ["originals"]])
def test_a_directory_that_is_no_repository(tmp_path: Path, command: list[str]) -> None:
    answer = repofs("-C", tmp_path, *command)
    assert answer.code == ExitCode.NO_REPOSITORY
    assert "repofs init" in answer.err


def test_which_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-C comes before the environment, that before the mount that the current directory lies in."""
    monkeypatch.setattr(mounts, "containing", lambda _path: Mount(1, Path("/mnt"), "fuse.repofs", repository))
    assert repofs("config").code == ExitCode.DONE
    monkeypatch.setenv("REPOFS_REPOSITORY", "/nowhere")
    assert "/nowhere is not a repository" in repofs("config").err
    assert repofs("--repository", repository, "config").code == ExitCode.DONE


ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RepofsError)]


@pytest.mark.parametrize("error", [*ERRORS, exit_codes.Timeout], ids=lambda error: error.__name__)
def test_every_error_of_the_house_is_one_sentence_and_a_code(
    error: type[errors.RepofsError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_codes.report(error("something is wrong: mend it")) not in (ExitCode.DONE, ExitCode.USAGE)
    assert capsys.readouterr().err == "repofs: something is wrong: mend it\n"


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [
        (errno.ENOENT, ExitCode.NOT_FOUND, "/a/b: No such file or directory"),
        (errno.EACCES, ExitCode.REFUSED, "/a/b: Permission denied"),
        (errno.ENOTCONN, ExitCode.NO_DAEMON, "/a/b: the daemon of this mount has gone: repofs mount brings it back"),
        (errno.ENOSPC, ExitCode.FAILED, "/a/b: No space left on device: make room, then try again"),
    ],
)
def test_the_kernels_refusals_are_told_with_their_path(
    number: int, code: ExitCode, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_codes.report(OSError(number, os.strerror(number), "/a/b")) == code
    assert capsys.readouterr().err == f"repofs: {words}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    answer = repofs("completion", shell)
    assert answer.code == 0
    assert "_REPOFS_COMPLETE" in answer.out


def _complete(line: str) -> list[str]:
    """Return what bash would offer for *line*, asked as the printed script asks."""
    words = line.split(" ")
    asking = {"_REPOFS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    command = [sys.executable, "-m", "repofs"]
    done = subprocess.run(command, env={**os.environ, **asking}, capture_output=True, text=True)
    return done.stdout.split()


def test_completion_completes() -> None:
    assert _complete("repofs um") == ["umount"]
    assert _complete("repofs group set") == ["set-permissions"]
    assert _complete("repofs mount --fo") == ["--foreground"]
    assert _complete("repofs group set-permissions lab read-") == ["read-only", "read-annotate", "read-write"]
