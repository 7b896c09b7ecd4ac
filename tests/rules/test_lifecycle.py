"""The table of states: closed, and without a way around it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.lifecycle import RESTING, TRANSITIONS, State, check, worst


def test_every_state_has_a_row_and_can_be_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set().union(*TRANSITIONS.values()) == set(State)


@pytest.mark.parametrize(("current", "new"), list(itertools.product(State, State)))
def test_what_the_table_does_not_have_is_refused(current: State, new: State) -> None:
    if new in TRANSITIONS[current]:
        check(current, new)
    else:
        with pytest.raises(ValueError, match=f"from {current} to {new}"):
            check(current, new)


def test_imported_is_left_only_for_what_became_of_the_bytes_or_when_it_is_deleted() -> None:
    assert TRANSITIONS[State.IMPORTED] == {State.ALTERED, State.MISSING, State.OFFLINE, State.DELETED}
    assert set(State) - RESTING == {State.WRITING, State.SETTLING, State.IMPORTING}


@given(st.dictionaries(st.sampled_from(State), st.integers(0, 3)))
def test_the_worst_of_a_directory_is_one_that_is_there(counts: dict[State, int]) -> None:
    found = worst(counts)
    present = [state for state, number in counts.items() if number]
    assert found in present if present else found is None
    assert all(list(State).index(one) <= list(State).index(found) for one in present if found)
