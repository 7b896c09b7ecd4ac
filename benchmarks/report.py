"""What was measured, as tables for people and as JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.comparison import Row
from benchmarks.imports import ImportRow
from benchmarks.places import BARE, REPOFS

_PACKAGES = ("repofs", "pyfuse3", "trio")
_WIDTH = 150  # where there is no terminal


def machine(directory: Path) -> dict[str, Any]:
    """Return what the figures depend on; *directory* is where was worked."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "kernel": platform.release(),
        "processor": model[1] if model else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],  # in the last minute, our own included
        "file_system": _told("findmnt", "-no", "FSTYPE", "--target", str(directory)),
        "libfuse": _told("pkg-config", "--modversion", "fuse3"),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def _told(*command: str) -> str | None:
    try:
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def console() -> Console:
    """Return where tables are printed to: as wide as the terminal, or wide enough for all columns."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def comparison_table(rows: Sequence[Row], rounds: int) -> Table:
    """Figures on all places; speeds relative to the bare directory; what repofs' daemon did for it."""
    places = list(rows[0].seconds)
    table = _table(f"medians of {rounds} rounds; ratios are speeds, 1 is as fast as the bare directory")
    table.add_column("workload", justify="left")
    for heading in ["unit", *places, *(f"ratio {place}" for place in places[1:])]:
        table.add_column(heading)
    for heading in ("target", "daemon CPU µs", "requests"):
        table.add_column(heading)
    for row in rows:
        table.add_row(
            f"{row.workload.name}, {row.state}",
            row.workload.unit,
            *(f"{row.figure(place):,.2f}" for place in places),
            *(f"{row.ratio(place):.3f}" for place in places[1:]),
            f"{row.target.passthrough} / {row.target.daemon}",
            f"{row.cpu_us(REPOFS):,.2f}",
            _requests(row),
        )
    return table


def _requests(row: Row) -> str:
    if row.requests is None:
        return "not counted"
    return f"{row.requests.total() / row.calls:.3g}"


def import_table(rows: Sequence[ImportRow]) -> Table:
    """Each sentence of what an import costs, beside what is wanted."""
    table = _table("imports")
    for heading in ("what", "figure", "wanted"):
        table.add_column(heading, justify="left")
    for row in rows:
        table.add_row(row.what, f"{row.figure:,.2f} {row.unit}", row.wanted)
    return table


def growth_table(rows: Sequence[Row]) -> Table:
    """A line a workload and what grows: the cost at each size, and how many times the first the last one is."""
    raise NotImplementedError


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left")
