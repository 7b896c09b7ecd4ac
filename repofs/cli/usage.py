"""Commands whose wrong command line ends with a code of its own."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

_UsageError: Any = typer.BadParameter.__mro__[1]  # click's, or that of the copy of click in newer typers


def ending_with(code: int) -> type[TyperCommand]:
    """Return a class of commands that end with *code* when their command line is wrong."""

    class Command(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            try:
                return super().parse_args(ctx, args)
            except _UsageError as error:
                error.exit_code = code
                raise

    return Command
