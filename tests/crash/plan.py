"""Where the daemon is to die: at every named step in turn, and at moments that nobody has chosen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch

from repofs.fault_points import Step

AGAIN: dict[Step, Step] = {
    Step.INTENT_COMMITTED: Step.RELEASED,
    Step.LOG_WRITTEN: Step.JOURNAL_ANEW,
    Step.FILE_STAGED: Step.UNLINKED,
    Step.PUBLISHED: Step.WITHDRAWN,
    Step.FILE_MARKED: Step.MARK_RESTORED,
    Step.SYNCED: Step.UNDONE,
    Step.COMMITTED: Step.FINISHED,
    Step.SOURCE_REMOVED: Step.SOURCE_RESUMED,
    Step.HASHED: Step.ARRIVALS_CLEARED,
}
"""The steps of recovery, each with the step of work after which recovery passes it."""

OF_RECOVERY = frozenset(AGAIN.values())
OFTEN = 80  # a round passes every other step more often
SELDOM = {
    Step.JOURNAL_BEGUN: 10,
    Step.JOURNAL_ENDED: 1,
    Step.CLOSED_CLEARED: 10,
    Step.INCOMPLETE_WRITTEN: 8,
    Step.COPIED: 4,
    Step.LINKED: 4,
    Step.ROWS_WRITTEN: 4,
    Step.SOURCE_REMOVED: 3,
    Step.REMOVAL_COMMITTED: 3,
    Step.ENDED: 6,
    Step.REFUSED_MARKED: 6,
    Step.THUMBNAIL_WRITTEN: 2,
    **dict.fromkeys(
        (
            Step.TRASH_NOTED,
            Step.DELETED,
            Step.TRASHED,
            Step.NAME_REMOVED,
            Step.TRASH_SYNCED,
            Step.TRASH_KEPT,
            Step.RESTORING,
            Step.NAME_RESTORED,
            Step.PUT_BACK,
            Step.RESTORE_SYNCED,
            Step.RESTORED,
        ),
        3,
    ),
    **dict.fromkeys((Step.EMPTYING, Step.NOTE_REMOVED, Step.LET_GO, Step.EMPTIED, Step.FORGOTTEN), 1),
    Step.VERIFY_MARKED: 5,
    Step.VERIFY_COMMITTED: 5,
    Step.COUNTERS_KEPT: 3,
    Step.PEOPLE_COMMITTED: 5,
    Step.PEOPLE_KEPT: 5,
}


@dataclass(frozen=True, slots=True)
class Death:
    """One kill: when *step* is passed for the *nth* time, or, without a step, *seconds* after work began."""

    step: Step | None
    nth: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.step}:{self.nth}" if self.step else f"after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True)
class Round:
    """A death at work, and perhaps a second one while the first is recovered from."""

    first: Death
    again: Death | None

    def __str__(self) -> str:
        return str(self.first) if self.again is None else f"{self.first}, again {self.again}"


def rounds(chance: random.Random, steps: str) -> Iterator[Round]:
    """Yield rounds without end: the named steps that the pattern *steps* matches, in an order of *chance*, in turn with
    moments that it has chosen. One in three or more dies twice."""
    wanted = [step for step in Step if step not in OF_RECOVERY and fnmatch(step, steps)]
    while True:
        for number, step in enumerate(chance.sample(wanted, len(wanted))):
            yield Round(_at(step, chance), _second(step, chance))
            yield Round(_moment(chance, 3.0), _moment(chance, 1.5) if number % 2 == 0 else None)


def _at(step: Step, chance: random.Random) -> Death:
    return Death(step, chance.randint(1, SELDOM.get(step, OFTEN)), 0.0)


def _second(step: Step, chance: random.Random) -> Death | None:
    """Return the death in recovery from *step*; after a step of which it has none of its own, sometimes any moment."""
    if step in AGAIN:
        return Death(AGAIN[step], 1, 0.0)
    return _moment(chance, 1.5) if chance.random() < 0.2 else None


def _moment(chance: random.Random, within: float) -> Death:
    return Death(None, 0, chance.uniform(0.0, within))
