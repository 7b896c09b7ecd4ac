"""repofs completion: what a shell needs to complete commands; use it as eval "$(repofs completion bash)"."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

VARIABLE = "_REPOFS_COMPLETE"  # how the script of a shell asks for completions


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help=", ".join(Shell))]) -> None:
    """Print what a shell needs to complete commands."""
    print(get_completion_script(prog_name="repofs", complete_var=VARIABLE, shell=shell))
