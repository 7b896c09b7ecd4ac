"""What users read is tested: each command, option, exit code, setting and attribute stands in docs/reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from repofs import config
from repofs.cli.app import app
from repofs.cli.exit_codes import ExitCode, FsckCode, ImportCode
from repofs.inspection.fsck import findings
from repofs.xattrs import KINDS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def _text(name: str) -> str:
    return (REFERENCE / name).read_text()


def _commands(command: Any = None, name: str = "repofs") -> Iterator[tuple[str, Any]]:
    command = command or get_command(app)
    inside = getattr(command, "commands", None)
    if inside is None:
        yield name, command
        return
    for word, one in inside.items():
        yield from _commands(one, f"{name} {word}")


@pytest.mark.parametrize(
    ("name", "command"), list(_commands()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_command_has_a_section_that_names_its_options(name: str, command: Any) -> None:
    sections = re.split(r"^## ", _text("commands.md"), flags=re.MULTILINE)
    [section] = [one for one in sections if re.match(rf"{name}(?=\s)(?! [a-z])", one)]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    for option in options:
        assert any(word in section for word in option.opts), option.opts


def test_no_section_without_a_command() -> None:
    titles = re.findall(r"^## (repofs(?: [a-z-]+)+)", _text("commands.md"), flags=re.MULTILINE)
    assert sorted(titles) == sorted(name for name, _ in _commands())


def test_each_exit_code_is_listed() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \| .+ \|$", _text("exit-codes.md"), flags=re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(code.value, code.name) for code in ExitCode]


def test_each_exit_code_of_the_importer_is_listed() -> None:
    assert _codes_in_section("repofs import") == list(ImportCode)


def test_each_exit_code_of_fsck_is_listed() -> None:
    assert _codes_in_section("repofs fsck") == [FsckCode.CLEAN, *FsckCode]


def _codes_in_section(title: str) -> list[int]:
    section = _text("exit-codes.md").partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [int(number) for number in re.findall(r"^\* (\d+): ", section, flags=re.MULTILINE)]


def test_each_code_of_fsck_is_listed() -> None:
    table = _text("fsck.md").partition("<!-- codes:")[2].partition("-->\n")[2].partition("\n<!-- end -->")[0]
    assert table == findings.page(), "run python -m repofs.inspection.fsck.findings and put its table into fsck.md"


def test_each_setting_is_listed_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| (.+?) \|", _text("settings.md"), flags=re.MULTILINE))
    assert list(rows) == config.known_keys()
    for key, value, _ in config.explain(config.Settings()):
        if key != "drops.temporary_names":
            assert rows[key].strip("`") == json.dumps(value), key


def test_each_attribute_is_listed_with_its_kind() -> None:
    rows = re.findall(r"^\| `([a-z.]+)` \| .+? \| ([a-z]+) \|", _text("attributes.md"), flags=re.MULTILINE)
    listed = dict(rows)
    assert set(KINDS) <= set(listed)
    for name, kind in KINDS.items():
        assert listed[name] == kind.value.rpartition(" ")[2], name


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))], ids=lambda p: p.name
)
def test_commands_in_how_tos_exist(page: Path) -> None:
    known = {name for name, _ in _commands()}
    for line in re.findall(r"^(?:if |\$ )?repofs (?:-C \S+ )?([a-z][a-z -]*)", page.read_text(), flags=re.MULTILINE):
        words = line.split()
        assert {f"repofs {words[0]}", f"repofs {' '.join(words[:2])}"} & known, line
