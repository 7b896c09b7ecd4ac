"""Every act that is recorded is one of ACTS, and docs/howto/audit.md lists them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from repofs.access import Act
from repofs.deeds import ACTS

ROOT = Path(__file__).parents[2]
RECORDERS = {
    "_record": 0,
    "done": 1,
    "refused": 1,
}  # methods that record, and where the act stands among their arguments


def _recorded() -> Iterator[tuple[str, str]]:
    """Yield each act that is written out where something is recorded, and where that is."""
    for path in sorted((ROOT / "repofs").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RECORDERS:
                for argument in node.args[RECORDERS[node.func.attr] :][:1]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, f"{path.relative_to(ROOT)}:{node.lineno}"


def test_the_page_lists_each_act() -> None:
    page = (ROOT / "docs" / "howto" / "audit.md").read_text()
    assert re.findall(r"^\| `([a-z.-]+)` \| (.+) \|$", page, flags=re.MULTILINE) == list(ACTS.items())


def test_each_act_that_is_recorded_is_known() -> None:
    recorded = dict(_recorded())
    assert "user.add" in recorded
    assert {act: place for act, place in recorded.items() if act not in ACTS} == {}


def test_what_can_be_refused_has_a_word() -> None:
    assert {act.name.lower() for act in Act} <= set(ACTS)
