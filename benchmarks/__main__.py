"""Do the same work on a bare directory, on peers and on repofs, in turn; import; let things grow. Needs root, and a C
compiler."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import catalogue, growth, imports, report, workloads
from benchmarks.calls import Calls
from benchmarks.comparison import compare
from benchmarks.growth import Base
from benchmarks.mounted import Repository
from benchmarks.originals import Originals
from benchmarks.places import BARE, REPOFS, places

EXAMPLE = "REPOFS_BENCHMARK_EXAMPLE"
_NEVER_SECONDS = 86_400.0  # a settle time: what is dropped is removed before it is imported


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    rounds: int
    files: workloads.Sizes
    growth: Base
    imports: imports.Sizes
    catalogue: Base | None  # None: that it grows is left out


_SCALES = {
    "full": Scale(5, workloads.FULL, growth.SHORT, imports.FULL, growth.SHORT),
    "growth": Scale(5, workloads.FULL, growth.FULL, imports.LONG, growth.FULL),
    "quick": Scale(5, workloads.QUICK, growth.QUICK, imports.QUICK, None),
    "tiny": Scale(1, workloads.TINY, growth.TINY, imports.TINY, growth.TINY),
}


def main() -> None:
    arguments = _arguments()
    if os.geteuid() != 0:
        sys.exit("benchmarks/run: only root has the kernel forget what it keeps of a mount")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what is mounted is unmounted first
    scale = _SCALES[arguments.scale]
    with tempfile.TemporaryDirectory(prefix="repofs-bench-", dir=arguments.directory) as name:
        top = Path(name)
        calls = Calls(top)
        told = {"scale": arguments.scale, "rounds": scale.rounds, "machine": report.machine(top)}
        try:
            told |= _measure_files(_made(top / "files"), calls, scale, arguments.example)
            told["imports"] = _told(imports.measure(_made(top / "imports"), calls, scale.imports), "imports")
            if scale.catalogue is not None:
                told["growth"] += _told(
                    catalogue.measure(_made(top / "catalogue"), calls, scale.catalogue), "catalogue"
                )
        finally:
            if arguments.json:
                arguments.json.write_text(json.dumps(told, indent=2) + "\n")
    report.show(told)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    scale = parser.add_mutually_exclusive_group()
    for name, help in (
        ("quick", "less than a minute, for a first look"),
        ("growth", "let directories and repository grow to 100,000 and 1,000,000 files; takes half an hour"),
        ("tiny", argparse.SUPPRESS),  # for the tests: whether it works
    ):
        scale.add_argument(f"--{name}", dest="scale", action="store_const", const=name, help=help)
    parser.set_defaults(scale="full")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="where to work: a disk like the repository's")
    parser.add_argument(
        "--example",
        type=Path,
        metavar="FILE",
        default=os.environ.get(EXAMPLE),
        help=f"passthroughfs.py of pyfuse3's examples, in its source package; else {EXAMPLE} says where it is",
    )
    return parser.parse_args()


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _measure_files(top: Path, calls: Calls, scale: Scale, example: Path | None) -> dict[str, Any]:
    """Measure what is done with files, on all places."""
    repository = Repository(top, settle_seconds=_NEVER_SECONDS)
    originals = Originals(repository.layout, calls)
    directory = repository.layout.managed / repository.user_directory / "originals"
    workloads.fill(originals, directory, scale.files)
    growth.fill(originals, directory / "growth", scale.growth)
    with places(top, repository, example) as (found, left_out):
        rows = compare(calls, found, workloads.workloads(scale.files), scale.rounds)
        ours = [place for place in found if place.name in (BARE, REPOFS)]
        return {
            "left_out": left_out,
            "workloads": _told(rows, "workloads"),
            "growth": _told(growth.measure(calls, ours, scale.growth), "growth"),
        }


def _told(rows: Iterable[Any], what: str) -> list[dict[str, Any]]:
    """Return *rows* as JSON has them; says on standard error how far it is."""
    told = []
    for row in rows:
        told.append(row.as_json())
        print(f"\r{what}: {len(told)} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return told


if __name__ == "__main__":
    main()
