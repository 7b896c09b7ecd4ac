"""Each call that an importer makes fails, one after the other: nothing is lost, nothing is half there, nothing hangs."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from repofs.importer import inbox
from repofs.lifecycle import State
from tests.helpers.failing_calls import NEVER, FailingCalls, build
from tests.helpers.faulty_imports import KINDS, Imports, Make

pytestmark = pytest.mark.trio

BAD_SECONDS = 0.4  # that a fault for ever goes on, when the import ends in no other way
SAMPLE = 12  # calls of each kind and fault, in a run that does not try them all

FAULTS = {
    **{f"{name} once": (getattr(errno, name), False) for name in ("EIO", "ENOSPC", "EINTR", "EDQUOT")},
    # Not EINTR, which is asked again without end.
    **{f"{name} for ever": (getattr(errno, name), True) for name in ("EIO", "ENOSPC", "EDQUOT")},
}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("failing_calls"))


@pytest.fixture
def calls(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FailingCalls:
    """The calls about what is in the directory of the test, of the importer processes that it starts."""
    made = FailingCalls(library, tmp_path / "control", tmp_path, "repofs.importer")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(inbox, "PAUSE_SECONDS", (0.1, 0.2))  # an importer that dies is started again: at once
    return made


@pytest.fixture
def chosen(request: pytest.FixtureRequest) -> Callable[[int], list[int]]:
    """Of call numbers up to one those to be tried: all, or some by a seed that is told when a test fails."""

    def choose(last: int) -> list[int]:
        if request.config.getoption("all_faults"):
            return list(range(1, last + 1))
        seed = request.config.getoption("faults_seed")
        return sorted(random.Random(f"{seed}{request.node.name}").sample(range(1, last + 1), min(SAMPLE, last)))

    return choose


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
async def test_every_call_fails(
    calls: FailingCalls, chosen: Callable[[int], list[int]], tmp_path: Path, kind: str, fault: str,
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    imports = Imports.make(tmp_path)
    tried: Counter[str] = Counter()
    async with imports.running():
        for first in chosen(await _calls_of_one(imports, calls, KINDS[kind])):
            tried += await _fails(imports, calls, KINDS[kind], first, *FAULTS[fault])
    async with imports.running():
        imports.check_end()
    record_property("told", f"{kind}, {fault}: {dict(tried)}")


async def _calls_of_one(imports: Imports, calls: FailingCalls, make: Make) -> int:
    """Return how many calls an import makes that meets no fault; the second one, which is not the first of its day."""
    for _ in range(2):
        calls.arm(NEVER, 0)
        case = make(imports)
        imports.drop(case)
        assert await imports.ended(case) is State.IMPORTED
        counted = calls.disarm().counted
        imports.check_imported(case)
    return counted


async def _fails(
    imports: Imports, calls: FailingCalls, make: Make, first: int, code: int, for_ever: bool
) -> Counter[str]:
    case = make(imports)
    calls.arm(first, code, for_ever=for_ever)
    imports.drop(case)
    state = await imports.ended(case, BAD_SECONDS if for_ever else 30)
    failed = calls.disarm()
    said = f"{failed.name} number {first} of {failed.path}, {errno.errorcode[code]}: {state} {case.outcomes}"
    try:
        if state is not None or not for_ever:
            assert state is not None, "no end"
        if state is State.FAILED:
            imports.check_kept(case)
            imports.drop(case)
        if state is not State.IMPORTED:
            case.outcomes.clear()
            assert await imports.ended(case) is State.IMPORTED, "not imported without the fault"
        imports.check_imported(case)
    except AssertionError as error:
        raise AssertionError(f"{said}: {error}") from error
    return Counter({failed.name: failed.failed} if failed.failed else {})
