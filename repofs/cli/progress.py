"""How far imports have come, as `user.repofs.status` of a file or directory tells."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repofs.cli import attributes, location
from repofs.cli.output import cell, print_columns
from repofs.errors import NotFound
from repofs.lifecycle import RESTING, State
from repofs.quotas import human_bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not imported and will not be by itself."""

    path: Path  # as the caller reaches it
    state: State
    error: str


@dataclass(frozen=True, slots=True)
class Progress:
    """All files at and below some paths, by state."""

    counts: dict[State, int]
    sizes: dict[State, int]  # bytes
    problems: tuple[Problem, ...]
    more: int  # problems that the mount has not listed
    verification: dict[str, Any] | None = None  # of all originals; told to administrators, of a whole mount
    read_only: str | None = None  # why the repository can not be changed any more
    passthrough: str | None = None  # whether the kernel reads originals by itself, as a sentence
    hanging: tuple[str, ...] = ()  # which disks and sources do not answer

    @property
    def under_way(self) -> int:
        """How many files are still on their way."""
        return sum(count for state, count in self.counts.items() if state not in RESTING)

    @property
    def all_imported(self) -> bool:
        return all(state is State.IMPORTED for state in self.counts)


def raw(path: Path) -> dict[str, Any]:
    """Return what the mount says of *path*, as `repofs status --json` prints it. Raises OSError."""
    location.mount_of(path)
    told = attributes.read_json(path, "status")
    if told is None:
        raise NotFound(f"{path} has no status: it is not imported")
    return {"path": os.fspath(path.absolute()), **told}


def ask(paths: Iterable[Path]) -> Progress:
    """Return how everything at and below *paths* stands, taken together. Raises OSError."""
    counts: Counter[State] = Counter()
    sizes: Counter[State] = Counter()
    problems: list[Problem] = []
    more, read_only = 0, None
    verification, passthrough = None, None
    hanging: dict[str, None] = {}
    for path in paths:
        told, top = raw(path), location.mount_of(path).mountpoint
        counts.update({State(state): count for state, count in told["counts"].items() if count})
        sizes.update({State(state): size for state, size in told["bytes"].items()})
        problems += [Problem(top / one["path"], State(one["state"]), one["error"]) for one in told["problems"]]
        more += told["more"]
        read_only = read_only or told["read_only"]
        verification = told.get("verification", verification)
        passthrough = passthrough or _passthrough(told.get("passthrough"))
        hanging.update(dict.fromkeys(told["hanging"]))
    return Progress(
        dict(counts), dict(sizes), tuple(problems), more, verification, read_only, passthrough, tuple(hanging)
    )


def rows(progress: Progress) -> list[tuple[str, str, str]]:
    """Return (state, files, bytes) of each state that occurs, imported first, as text."""
    return [
        (str(state), str(progress.counts[state]), human_bytes(progress.sizes.get(state, 0)))
        for state in State
        if state in progress.counts
    ]


def print_progress(progress: Progress) -> None:
    """Print a table of states and, below it, each problem with its error."""
    if progress.counts:
        print_columns(("STATE", "FILES", "SIZE"), rows(progress))
    else:
        print("no files")
    if progress.verification is not None:
        print(_verification(progress.verification))
    if progress.passthrough is not None:
        print(progress.passthrough)
    print_problems(progress)


def _passthrough(told: dict[str, Any] | None) -> str | None:
    """Return whether the kernel reads originals by itself, as a sentence; None where only a part was asked of."""
    if told is None:
        return None
    but = "" if told["why_not"] is None else f": {told['why_not']}" if not told["used"] else f"; {told['why_not']}"
    return f"kernel passthrough: {'used' if told['used'] else 'not used'}{but}"


def _verification(told: dict[str, Any]) -> str:
    """Return how far the verification of originals is, as a sentence."""
    words = [f"{told['files']:,} originals"]
    if told["every_days"]:
        words.append(f"{told['due']:,} due{', running' if told['running'] else ''}")
    words.append(f"{told['never']:,} not since their import")
    if told["oldest"] is not None:
        words.append(f"longest ago {told['oldest'][:10]}, last {told['newest'][:10]}")
    words += [f"{count:,} {state}" for state, count in told["found"].items()]
    return f"verification: {', '.join(words)}"


def print_problems(progress: Progress) -> None:
    """Print a line for each problem, that of the whole repository first."""
    if progress.read_only is not None:
        print(f"read-only: {cell(progress.read_only)}")
    for sentence in progress.hanging:
        print(f"hanging: {cell(sentence)}")
    for problem in progress.problems:
        print(f"{problem.state}: {cell(problem.path)}: {cell(problem.error)}")
    if progress.more:
        print(f"and {progress.more} more")
