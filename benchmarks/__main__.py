"""Run every workload on the bare directory and on a mount, interleaved, and print medians and ratios."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import ingest
from benchmarks.mounted import repository
from benchmarks.workloads import workloads


def measure(bare: Path, mounted: Path, *, quick: bool, rounds: int) -> list[dict[str, object]]:
    """Return a row a workload: medians of operations per second on both, and their ratio (1 is as fast as bare)."""
    rows = []
    for workload in workloads(quick=quick):
        seconds: dict[Path, list[float]] = {bare: [], mounted: []}
        for _ in range(rounds):
            for place, measured in seconds.items():
                measured.append(workload.run(place, workload.operations))
        rows.append(_row(workload.name, workload.unit, workload.operations, seconds[bare], seconds[mounted]))
    return rows


def measure_ingest(top: Path, bare: Path, mounted: Path, *, quick: bool, rounds: int) -> list[dict[str, object]]:
    """The same for whole imports: many small files, and one large one."""
    rows = []
    for name, files, size in (
        ("4 KiB files", 200 if quick else 2000, 4096),
        ("large file", 1, (64 if quick else 512) << 20),
    ):
        source = top / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        for number in range(files):
            (source / f"{number}.bin").write_bytes(os.urandom(size))
        on_bare, on_mount = [], []
        for round in range(rounds):
            on_bare.append(ingest.bare(source, bare))
            on_mount.append(ingest.mounted(source, mounted, round))
        rows.append(_row(f"cp until imported, {name}", "files", files, on_bare, on_mount))
        shutil.rmtree(source)
    return rows


def _row(name: str, unit: str, operations: int, bare: list[float], mounted: list[float]) -> dict[str, object]:
    on_bare, on_mount = (operations / statistics.median(seconds) for seconds in (bare, mounted))
    return {"workload": name, "unit": unit, "bare": on_bare, "repofs": on_mount, "ratio": on_mount / on_bare}


def show(rows: list[dict[str, object]], rounds: int) -> None:
    table = Table(title=f"operations a second, medians of {rounds} rounds")
    for heading, justify in (
        ("workload", "left"),
        ("unit", "left"),
        ("bare", "right"),
        ("repofs", "right"),
        ("ratio", "right"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(
            str(row["workload"]),
            str(row["unit"]),
            f"{row['bare']:,.1f}",
            f"{row['repofs']:,.1f}",
            f"{row['ratio']:.3f}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less work, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--directory", type=Path, help="where to work; a disk like the repository's")
    arguments = parser.parse_args()
    rounds = 3 if arguments.quick else 5
    with tempfile.TemporaryDirectory(prefix="repofs-bench-", dir=arguments.directory) as name:
        top = Path(name)
        bare = top / "bare"
        bare.mkdir()
        with repository(top) as mounted:
            rows = measure(bare, mounted, quick=arguments.quick, rounds=rounds)
            rows += measure_ingest(top, bare, mounted, quick=arguments.quick, rounds=rounds)
    show(rows, rounds)
    if arguments.json:
        machine = {"kernel": platform.release(), "python": platform.python_version(), "cores": os.cpu_count()}
        arguments.json.write_text(json.dumps({"machine": machine, "rounds": rounds, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
