"""The command `repofs`: one file a command. What is imported before a command runs decides how quick `--help` is,
so a command imports what it needs inside its function.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; a wrong command line ends in SystemExit(2).

    An OSError, ours or the kernel's, becomes one sentence and an exit code; anything else is a fault of ours and
    keeps its traceback.
    """
    from repofs.cli.app import app
    from repofs.cli.exit_codes import report

    try:
        app(arguments, prog_name="repofs")
    except OSError as error:
        return report(error)
    return 0
