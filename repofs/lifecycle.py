"""The life of an import: the states of a drop and an original, and the steps that are allowed.

One table; `docs/design.md` draws it from here. The only writer of a state in the catalogue is
`catalog.imports.advance`, which asks `check` first.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What ``user.repofs.state`` says. In the order of concern: the worst of a directory comes last."""

    IMPORTED = "imported"
    SETTLING = "settling"
    IMPORTING = "importing"
    WRITING = "writing"
    INCOMPLETE = "incomplete"
    DUPLICATE = "duplicate"
    OFFLINE = "offline"
    MISSING = "missing"
    FAILED = "failed"
    ALTERED = "altered"
    DELETED = "deleted"  # of an import only: its fileset is in the trash, or has gone for good


TRANSITIONS: dict[State, frozenset[State]] = {
    State.WRITING: frozenset({State.SETTLING, State.INCOMPLETE}),
    State.INCOMPLETE: frozenset({State.WRITING, State.SETTLING}),
    State.SETTLING: frozenset({State.WRITING, State.IMPORTING}),
    State.IMPORTING: frozenset({State.IMPORTED, State.FAILED, State.DUPLICATE, State.SETTLING}),
    State.FAILED: frozenset({State.SETTLING, State.WRITING}),
    State.DUPLICATE: frozenset({State.SETTLING, State.WRITING}),
    State.IMPORTED: frozenset({State.ALTERED, State.MISSING, State.OFFLINE, State.DELETED}),
    State.ALTERED: frozenset({State.IMPORTED, State.MISSING, State.OFFLINE, State.DELETED}),
    State.MISSING: frozenset({State.IMPORTED, State.ALTERED, State.OFFLINE, State.DELETED}),
    State.OFFLINE: frozenset({State.IMPORTED, State.ALTERED, State.MISSING, State.DELETED}),
    State.DELETED: frozenset({State.IMPORTED, State.ALTERED, State.MISSING, State.OFFLINE}),
}

RESTING = frozenset({State.IMPORTED, State.INCOMPLETE, State.DUPLICATE, State.FAILED,
                     State.ALTERED, State.MISSING, State.OFFLINE, State.DELETED})  # fmt: skip
"""States that nothing but a person changes: who waits for an import waits for one of these."""


def check(current: State, new: State) -> None:
    """Refuse a step that the table does not have (ValueError: a fault of the house, not of a user)."""
    if new not in TRANSITIONS[current]:
        raise ValueError(f"no way from {current} to {new}")


def worst(states: dict[State, int]) -> State | None:
    """Return the state of most concern among those with a count, or None when there is none."""
    order = list(State)
    return max((s for s, n in states.items() if n), key=order.index, default=None)


def diagram() -> str:
    """Return the table as a Mermaid state diagram, as it stands in docs/design.md."""
    steps = [f"    {current} --> {new}" for current, nexts in TRANSITIONS.items() for new in State if new in nexts]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> writing", *steps, "```"])


if __name__ == "__main__":
    print(diagram())
