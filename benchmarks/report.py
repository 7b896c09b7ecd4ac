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

from benchmarks.places import REPOFS

_PACKAGES = ("repofs", "pyfuse3", "trio")
_WIDTH = 180  # where there is no terminal


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


def show(told: dict[str, Any]) -> None:
    """Print all that was measured, as `__main__` gathers it."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    console.print(", ".join(f"{what} {value}" for what, value in told["machine"].items()), style="dim")
    console.print(_comparison(told["workloads"], told["rounds"]))
    for sentence in told["left_out"]:
        console.print(sentence)
    console.print(_imports(told["imports"]), _growth(told["growth"]), sep="\n")


def _comparison(rows: Sequence[dict[str, Any]], rounds: int) -> Table:
    """Figures on all places, speeds relative to the bare directory, and what repofs' daemon had to do."""
    places = list(rows[0]["figures"])
    table = _table(
        f"medians of {rounds} rounds; a ratio is a speed, 1 is as fast as the bare directory",
        *("workload", "unit"),
        *(*places, *(f"ratio {place}" for place in places[1:]), "wanted", "CPU µs", "requests"),
    )
    for row in rows:
        table.add_row(
            f"{row['workload']}, {row['state']}",
            row["unit"],
            *(f"{row['figures'][place]:,.2f}" for place in places),
            *(f"{row['ratios'][place]:.3f}" for place in places[1:]),
            " / ".join(map(str, row["wanted"].values())),
            f"{row['daemon_cpu_us'][REPOFS]:,.1f}",
            "?" if row["requests"] is None else f"{sum(row['requests'].values()) / row['pieces']:.3g}",
        )
    table.caption = (
        "wanted: repofs' ratio with / without kernel passthrough; CPU of repofs' daemon, and requests that reached it: "
        "of one operation, or one MiB"
    )
    return table


def _imports(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("imports", "what", "unit", "figure", "wanted")
    for row in rows:
        table.add_row(row["what"], row["unit"], f"{row['figure']:,.2f}", row["wanted"])
    return table


def _growth(rows: Sequence[dict[str, Any]]) -> Table:
    headings = ("to", "1 ×", "10 ×", "100 ×", "grows to, times")
    table = _table("growth: µs an operation, of all users together", "with more", "work", "place", *headings)
    for row in rows:
        costs = (f"{cost:,.2f}" for cost in row["microseconds"])
        table.add_row(row["grows"], row["work"], row["place"], f"{row['sizes'][-1]:,}", *costs, f"{row['times']:,.2f}")
    return table


def _table(title: str, *headings: str) -> Table:
    """Words to the left, figures to the right."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in headings:
        words = heading in ("workload", "unit", "what", "with more", "work", "place")
        table.add_column(heading, justify="left" if words else "right", no_wrap=words)
    return table
