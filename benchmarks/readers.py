"""Readers: small TIFFs a second and core, beside tifffile called in a loop; what a file's size costs.

python -m benchmarks.readers [--files N] [--rounds N] [--directory DIR] [--json FILE]

One process, warm: the files are in the page cache and the libraries are loaded. Time is that of the processor, so that
it is of one core; rounds of both alternate, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from rich.console import Console
from rich.table import Table

from repofs.formats import registry
from repofs.formats.local_files import LocalFiles
from repofs.image import Recognised

KINDS: dict[str, Callable[[Path], object]] = {
    "plain": lambda path: tifffile.imwrite(path, _plane(), photometric="minisblack", metadata=None),
    "ImageJ": lambda path: tifffile.imwrite(path, _stack(), imagej=True, metadata={"axes": "ZYX"}),
    "OME-TIFF": lambda path: tifffile.imwrite(path, _stack(), ome=True, photometric="minisblack"),
}
SIZES = {"10 MB": (2_000, 2_500), "10 GB": (50_000, 100_000)}  # of uint16


def _plane() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (64, 64)).astype("u2")


def _stack() -> np.ndarray:
    return np.repeat(_plane()[None], 3, 0)


def with_repofs(directory: Path) -> int:
    """Ask of each file what belongs to it and what it holds; return how many there are."""
    files = LocalFiles(directory)
    for name in files.names():
        found = registry.look(name, files)
        assert isinstance(found, Recognised)
        assert found.images
    return len(files.names())


def with_tifffile(directory: Path) -> int:
    """Read the same from each file with tifffile: its series and the tags of its first page."""
    paths = sorted(directory.iterdir())
    for path in paths:
        with tifffile.TiffFile(path) as tiff:
            assert [(series.shape, series.axes, series.dtype) for series in tiff.series]
            assert {tag.name: str(tag.value) for tag in tiff.pages.first.tags}
    return len(paths)


def rate(work: Callable[[Path], int], directory: Path) -> float:
    """Return files a second of processor time."""
    begin = time.process_time()
    return work(directory) / (time.process_time() - begin)


def small_files(top: Path, files: int, rounds: int) -> list[dict[str, object]]:
    """Return a line a kind: medians of files a second and core, and their ratio."""
    lines: list[dict[str, object]] = []
    for kind, write in KINDS.items():
        directory = top / kind
        directory.mkdir()
        for number in range(files):
            write(directory / f"{number:06}.tif")
        with_repofs(directory), with_tifffile(directory)
        measured = [(rate(with_repofs, directory), rate(with_tifffile, directory)) for _ in range(rounds)]
        ours, theirs = (statistics.median(column) for column in zip(*measured, strict=True))
        lines.append({"kind": kind, "repofs": ours, "tifffile": theirs, "ratio": ours / theirs})
    return lines


def large_files(top: Path, rounds: int) -> list[dict[str, object]]:
    """Return a line a size: median milliseconds to the metadata and to a picture of a sparse BigTIFF."""
    lines: list[dict[str, object]] = []
    for size, shape in SIZES.items():
        directory = top / size
        directory.mkdir()
        tifffile.imwrite(directory / "large.tif", shape=shape, dtype="u2", bigtiff=True, photometric="minisblack")
        files = LocalFiles(directory)
        read = _milliseconds(lambda files=files: registry.read("large.tif", files), rounds)  # type: ignore[misc]
        picture = _milliseconds(lambda files=files: registry.picture("large.tif", files, 0), rounds)  # type: ignore[misc]
        lines.append({"size": size, "read_ms": read, "picture_ms": picture})
    return lines


def _milliseconds(work: Callable[[], object], rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        begin = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


def show(title: str, lines: list[dict[str, object]]) -> None:
    table = Table(title=title)
    for heading in lines[0]:
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in line.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=__doc__)
    parser.add_argument("--files", type=int, default=500, help="of each kind")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--directory", type=Path, help="where to work; a disk that has sparse files")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="repofs-bench-", dir=arguments.directory) as name:
        small = small_files(Path(name), arguments.files, arguments.rounds)
        large = large_files(Path(name), arguments.rounds)
    show("small TIFFs, files a second and core", small)
    show("sparse BigTIFF, milliseconds", large)
    if arguments.json:
        arguments.json.write_text(json.dumps({"small": small, "large": large}, indent=2) + "\n")


if __name__ == "__main__":
    main()
