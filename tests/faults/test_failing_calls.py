"""Each call that an importer makes fails, one after the other: nothing is lost, or half there, and nothing hangs."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repofs.importer import inbox
from repofs.lifecycle import State
from tests.helpers.failing_calls import NEVER, Failed, FailingCalls
from tests.helpers.faulty_imports import KINDS, PATIENCE_SECONDS, Case, Imports, Make
from tests.helpers.prepared_importers import prepared_importers

pytestmark = pytest.mark.trio

BAD_SECONDS = 0.4  # that a fault for ever goes on, when the import ends in no other way

Fault = tuple[int, bool]  # errno, for ever

FAULTS: dict[str, Fault] = {
    **{f"{name} once": (getattr(errno, name), False) for name in ("EIO", "ENOSPC", "EINTR", "EDQUOT")},
    # Not EINTR, which is asked again without end.
    **{f"{name} for ever": (getattr(errno, name), True) for name in ("EIO", "ENOSPC", "EDQUOT")},
}
SAMPLE = {False: 5, True: 3}  # calls of a kind that fail, in a run that does not try them all


@pytest.fixture
def calls(library: Path, tmp_path: Path) -> FailingCalls:
    """The calls about what is in the directory of the test, of the importer processes that it starts."""
    return FailingCalls(library, tmp_path / "control", tmp_path, "repofs.importer")


@pytest.fixture
def imports(calls: FailingCalls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Imports]:
    monkeypatch.setattr(inbox, "PAUSE_SECONDS", (0.1, 0.2))  # an importer that dies is started again: at once
    with prepared_importers(calls.environment) as prepared:
        yield Imports.make(tmp_path, prepared.start)


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Callable[[int, str], list[int]]:
    """Of call numbers up to one those to be tried with a fault: all, or some by a seed."""

    def choose(last: int, fault: str) -> list[int]:
        if request.config.getoption("all_faults"):
            return list(range(1, last + 1))
        dice = random.Random(f"{request.config.getoption('seed')} {request.node.name} {fault}")
        return sorted(dice.sample(range(1, last + 1), SAMPLE[FAULTS[fault][1]]))

    return choose


@pytest.mark.timeout(7200)  # with all of them
@pytest.mark.parametrize("kind", KINDS)
async def test_every_call_fails(
    calls: FailingCalls,
    imports: Imports,
    chosen: Callable[[int, str], list[int]],
    kind: str,
    record_property: Callable[[str, object], None],
) -> None:
    tried: Counter[str] = Counter()
    async with imports.running():
        last = await _calls_of_one(imports, calls, KINDS[kind])
        for fault in FAULTS:
            for first in chosen(last, fault):
                failed = await _fails(imports, calls, KINDS[kind], first, *FAULTS[fault])
                tried[fault] += failed.failed
    async with imports.running():
        imports.check_end()
    record_property("told", f"faults injected into imports of {kind} ({last} calls): {_listed(tried)}; lost: 0")


def _listed(tried: Counter[str]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in tried.items())


async def _calls_of_one(imports: Imports, calls: FailingCalls, make: Make) -> int:
    """Return how many calls an import makes that meets no fault; the second one, which is not the first of its day."""
    for _ in range(2):
        calls.arm(NEVER, 0)
        case = make(imports)
        await _imported(imports, case)
        counted = calls.disarm().counted
    return counted


async def _fails(imports: Imports, calls: FailingCalls, make: Make, first: int, code: int, for_ever: bool) -> Failed:
    """Let call number *first* of an import fail, and check what comes of it; then import without the fault."""
    case = make(imports)
    calls.arm(first, code, for_ever=for_ever)
    imports.drop(case)
    outcome = await imports.ended(case, BAD_SECONDS if for_ever else PATIENCE_SECONDS)
    failed = calls.disarm()
    outcome = outcome or await imports.ended(case)
    failure = imports.health.failure
    try:
        assert outcome is not None or failure is not None, "no end"
        if failure is not None or (outcome is not None and outcome.undecided):
            await imports.restart()
        elif outcome is not None and outcome.state is not State.IMPORTED:
            imports.check_kept(case)
        await _imported(imports, case)
    except AssertionError as error:
        said = f"{failed.name} number {first} of {failed.path}, {errno.errorcode[code]}: {case.outcomes}, {failure}"
        raise AssertionError(f"{said}: {error}") from error
    return failed


async def _imported(imports: Imports, case: Case) -> None:
    """Have *case* imported, if it is not, and check it."""
    if not imports.is_imported(case):
        case.outcomes.clear()
        imports.drop(case)
        outcome = await imports.ended(case)
        assert outcome is not None and outcome.state is State.IMPORTED, f"not imported without the fault: {outcome}"
    await imports.removed(case)
    imports.check_imported(case)
