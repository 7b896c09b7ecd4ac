"""What a command line or a bulk file wants imported: looked for, asked for one fileset at a time, reported."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from repofs import mounts
from repofs.cli.exit_codes import ImportCode, sentence
from repofs.config import ChecksumAlgorithm, Drops
from repofs.control import client
from repofs.control.protocol import Call
from repofs.errors import Busy, DaemonUnreachable, InvalidValue
from repofs.formats.candidates import Candidate, LeftOut, Rules, find, names_others
from repofs.importer.requests import Import
from repofs.lifecycle import State
from repofs.model import KEPT, REMOVED, Exclusion, ObjectRef, Skip
from repofs.repository import transfers
from repofs.repository.layout import Layout
from repofs.targets import Target, Template, parse_request

BUSY_SECONDS = 120.0  # that a daemon which takes no more requests now is asked again
_PAUSES = 0.1, 2.0  # seconds between two tries: at first, at most
_OPEN = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

QUEUED = "queued"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One path to be imported, and how."""

    path: bytes  # absolute
    transfer: str
    target: Target | Template | None
    name: str | None
    owner: str | None
    group: str | None
    skip: tuple[str, ...]
    exclude: tuple[Exclusion, ...]
    checksum_algorithm: str | None
    depth: int


@dataclass(frozen=True, slots=True)
class Job:
    """One fileset to be imported."""

    wanted: Wanted
    candidate: Candidate
    target: Target | None


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one fileset, or of a path that is none."""

    path: bytes
    state: str  # imported, duplicate, queued or failed
    error: str | None = None
    told: dict[str, Any] = field(default_factory=dict)  # model.Arrived, as JSON has it

    @property
    def fileset(self) -> str | None:
        number = self.told.get("fileset")
        return None if number is None else str(ObjectRef("Fileset", number))

    @property
    def images(self) -> list[int]:
        return list(self.told.get("images") or ())

    @property
    def is_new(self) -> bool:
        """Whether a fileset was made of it; not of a file that came with another one of its fileset."""
        return self.state == State.IMPORTED and self.told.get("import_directory") is not None

    @property
    def files(self) -> list[str]:
        """The names of all files of the fileset, where it has several, below the directory of *path*."""
        return list(self.told.get("files") or ())

    @property
    def source(self) -> str:
        """What became of the source: KEPT, REMOVED, or why it is there that should have gone."""
        return str(self.told.get("source") or KEPT)

    def facts(self) -> dict[str, object]:
        """Return what programs are told."""
        told = {"path": os.fsdecode(self.path), **self.told, "state": str(self.state), "error": self.error}
        told["fileset"] = self.fileset
        for key, kind in (("images", "Image"), ("originals", "OriginalFile")):
            told[key] = [str(ObjectRef(kind, number)) for number in self.told.get(key) or ()]
        told["source"] = self.source
        return told


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done. What is left out by a rule is no problem, what cannot be read is."""

    jobs: list[Job]
    left_out: list[LeftOut]
    problems: list[Report]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(job.candidate.size for job in self.jobs)


Done = Callable[[Report, int], None]
"""Told of each fileset when it has been seen to, and its size in bytes."""

Watch = Callable[[Plan], AbstractContextManager[Done]]
"""Shows how far the import has come."""


def target(text: str | None) -> Target | Template | None:
    """Read the option --target. Raises InvalidValue."""
    return None if text is None else parse_request(text)


def each(usual: Wanted, paths: Iterable[Path]) -> list[Wanted]:
    """Return what is wanted of each of *paths*. What a symlink that is named leads to is meant."""
    return [replace(usual, path=os.path.realpath(os.fsencode(path))) for path in paths]


def check(wanted: Iterable[Wanted]) -> None:
    """Raise InvalidValue for a transfer or a checksum algorithm that does not exist: once, and not for each file."""
    algorithms = get_args(ChecksumAlgorithm)
    for one in wanted:
        transfers.named(one.transfer)
        if one.checksum_algorithm is not None and one.checksum_algorithm not in algorithms:
            known = ", ".join(algorithms)
            raise InvalidValue(f"{one.checksum_algorithm!r} is no checksum algorithm: there are {known}")


def plan(wanted: Iterable[Wanted], drops: Drops) -> Plan:
    """Look for filesets, with the rights of this process. A path that is named twice counts once."""
    rules, made = Rules(drops), Plan([], [], [])
    seen: set[bytes] = set()
    for one in wanted:
        if _in_mount(one.path):
            made.problems.append(_failed(one.path, "it lies in a repofs mount: what is copied there is imported"))
            continue
        for found in find(one.path, rules, one.depth):
            if found.path in seen:
                continue
            seen.add(found.path)
            if isinstance(found, Candidate):
                _add(made, one, found)
            elif found.failed:
                made.problems.append(_failed(found.path, found.why))
            else:
                made.left_out.append(found)
    return made


def _in_mount(path: bytes) -> bool:
    try:
        return mounts.containing(Path(os.fsdecode(path))) is not None
    except OSError:  # whoever looks for files there says why
        return False


def _add(made: Plan, wanted: Wanted, candidate: Candidate) -> None:
    goal = wanted.target
    try:
        if isinstance(goal, Template):
            goal = goal.target(os.fsdecode(candidate.directory))
    except InvalidValue as error:
        made.problems.append(_failed(candidate.path, error.message))
    else:
        made.jobs.append(Job(wanted, candidate, goal))


def _failed(path: bytes, why: str) -> Report:
    return Report(path, State.FAILED, why)


# --- asking ----------------------------------------------------------------------------------------


def carry_out(layout: Layout, made: Plan, parallel: int, *, wait: bool, watch: Watch) -> list[Report]:
    """Import all of *made*; return a report of each fileset and of each problem.

    Raises DaemonUnreachable when no daemon listens, InvalidValue when a target needs one import to end before the next.
    """
    if not wait and any(job.target is not None and job.target.makes_new for job in made.jobs):
        raise InvalidValue("a target with @ is made by the first import: leave out --no-wait")
    if not client.listens(layout):
        raise DaemonUnreachable(f"{layout.root} is not mounted: importing needs its daemon")
    reports = list(made.problems)
    with watch(made) as done:
        for report in made.problems:
            done(report, 0)

        def take(job: Job) -> Report:
            return _ask(layout, job, wait=wait)

        def note(job: Job, report: Report) -> None:
            reports.append(report)
            done(report, job.candidate.size)

        jobs = _settled(made.jobs, take, note)
        mains = [job for job in jobs if names_others(job.candidate.name)]
        others = [job for job in jobs if not names_others(job.candidate.name)]  # which may not know of their fileset
        _in_parallel(mains, parallel, take, note)
        _in_parallel(_not_brought(others, reports, note), parallel, take, note)
    return reports


def _not_brought(jobs: Iterable[Job], reports: Iterable[Report], note: Callable[[Job, Report], None]) -> list[Job]:
    """Return the jobs whose files came with none that was reported; of those it is noted what became of that one."""
    brought = {os.path.join(os.path.dirname(one.path), os.fsencode(name)): one for one in reports for name in one.files}
    rest = []
    for job in jobs:
        if (one := brought.get(job.candidate.path)) is None:
            rest.append(job)
        else:
            told = {key: one.told.get(key) for key in ("fileset", "source")}
            note(job, Report(job.candidate.path, one.state, one.error, told))
    return rest


def _settled(jobs: Iterable[Job], take: Callable[[Job], Report], note: Callable[[Job, Report], None]) -> list[Job]:
    """Return the jobs whose targets are there. One that makes a new container is done first, and the others of this
    command go into the same."""
    there: set[str] = set()
    rest = []
    for job in jobs:
        if job.target is None or not job.target.makes_new:
            rest.append(job)
        elif str(job.target) in there:
            rest.append(replace(job, target=job.target.then()))
        else:
            report = take(job)
            note(job, report)
            if report.state == State.IMPORTED and report.images:
                there.add(str(job.target))
    return rest


def _in_parallel(
    jobs: Sequence[Job], parallel: int, take: Callable[[Job], Report], note: Callable[[Job, Report], None]
) -> None:
    """Have *take* do the jobs, so many at a time. Ctrl-C ends the command: its threads keep nobody waiting."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    ended: queue.SimpleQueue[tuple[Job, Report]] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)

    def work() -> None:
        while True:
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            ended.put((job, take(job)))

    for _ in range(min(parallel, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    for _ in jobs:
        note(*ended.get())


def _ask(layout: Layout, job: Job, *, wait: bool) -> Report:
    """Have one fileset imported, and return what became of it."""
    path = job.candidate.path
    try:
        told = _answer(layout, job, wait)
    except Exception as error:  # noqa: BLE001 - a thread that ends without an answer would be waited for forever
        return _failed(path, sentence(error) if isinstance(error, OSError) else repr(error))
    if QUEUED in told:
        return Report(path, QUEUED)
    state = State.FAILED if told["state"] == State.SETTLING else told["state"]
    return Report(path, state, told["error"], told)


def _answer(layout: Layout, job: Job, wait: bool) -> dict[str, Any]:
    directory = os.open(job.candidate.directory, _OPEN)
    try:
        call = Call(_request(job, wait))
        pause, deadline = _PAUSES[0], time.monotonic() + BUSY_SECONDS
        while True:
            try:
                answered, told = client.ask(layout, call, descriptor=directory, patience_seconds=0)
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            if not answered:
                raise DaemonUnreachable("the daemon has gone: mount the repository, then run the same command again")
            return dict(told)
    finally:
        os.close(directory)


def _request(job: Job, wait: bool) -> Import:
    wanted, candidate = job.wanted, job.candidate
    return Import(
        directory=candidate.directory,
        name=candidate.name,
        is_directory=candidate.is_directory,
        transfer=wanted.transfer,
        target=None if job.target is None else str(job.target),
        owner=wanted.owner,
        group=wanted.group,
        image_name=wanted.name,
        exclude=wanted.exclude,
        checksum_algorithm=wanted.checksum_algorithm,
        skip=tuple(step for step in Skip if {step, "all"}.intersection(wanted.skip)),
        wait=wait,
    )


def exit_code(reports: Iterable[Report]) -> ImportCode:
    """Return the exit code of OMERO's importer for what has become of all."""
    all_reports = list(reports)
    if any(report.state == State.FAILED for report in all_reports):
        return ImportCode.FAILED
    if any(report.source not in (KEPT, REMOVED) for report in all_reports):
        return ImportCode.SOURCE_KEPT
    return ImportCode.DONE
