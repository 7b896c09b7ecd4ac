"""A user directory is never given to a second person."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.command_line import repofs


@pytest.mark.parametrize(
    ("template", "first", "second"),
    [
        ("%user%", ("alice", "61001", "lab"), ("alice", "61077", "lab")),  # the account was made anew
        ("%group%_%user%", ("c", "61001", "a_b"), ("b_c", "61002", "a")),
    ],
)
def test_a_directory_that_was_another_persons_is_refused(
    tmp_path: Path, template: str, first: tuple[str, str, str], second: tuple[str, str, str]
) -> None:
    repository = tmp_path / "repository"
    assert repofs("init", repository).code == 0
    (repository / "settings.toml").write_text(f'[repository]\ntemplate = "{template}//%year%/%time%"\n')
    for gid, group in enumerate(sorted({first[2], second[2]}), 61010):
        assert repofs("-C", str(repository), "group", "add", group, "--gid", str(gid)).code == 0
    for name, uid, group in (first, second):
        done = repofs("-C", str(repository), "user", "add", name, "--uid", uid, "--group", group)
        if name == first[0] and uid == first[1]:
            assert done.code == 0
            assert name != second[0] or repofs("-C", str(repository), "user", "remove", name).code == 0
    assert "is that of Experimenter:" in done.err
    [directory] = [one for one in (repository / "ManagedRepository").iterdir() if not one.name.startswith(".")]
    assert directory.stat().st_uid in (0, 61001)
