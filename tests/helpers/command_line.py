"""Running `repofs` inside the test's process."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from repofs.cli import main


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def repofs(*words: str | Path) -> Answer:
    """Run one command line and return its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    logging = structlog.get_config()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        finally:
            structlog.configure(**logging)
    return Answer(code, out.getvalue(), err.getvalue())
