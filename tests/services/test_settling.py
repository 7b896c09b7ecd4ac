"""Clocks of drops: due when quiet, put off by every change."""

from __future__ import annotations

import math

from repofs.importer.settling import Settling


def test_due_in_the_order_of_deadlines() -> None:
    settling = Settling()
    for token, deadline in ((1, 3.0), (2, 1.0), (3, 2.0)):
        settling.start(token, deadline)
    assert settling.next_deadline() == 1.0
    assert settling.due(0.9) == []
    assert settling.due(2.5) == [2, 3]
    assert settling.due(9.0) == [1]
    assert settling.next_deadline() == math.inf
    assert len(settling) == 0


def test_a_restart_puts_off() -> None:
    settling = Settling()
    settling.start(1, 3.0)
    settling.start(1, 5.0)
    assert settling.next_deadline() == 5.0
    assert settling.due(4.0) == []
    assert settling.due(5.0) == [1]


def test_a_restart_can_bring_forward() -> None:
    settling = Settling()
    settling.start(1, 30.0)
    settling.start(1, 0.5)
    assert settling.due(1.0) == [1]
    assert settling.due(60.0) == []


def test_put_off_and_brought_forward_is_due_once() -> None:
    settling = Settling()
    for deadline in (3.0, 9.0, 1.0, 7.0, 2.0):
        settling.start(1, deadline)
    assert settling.due(100.0) == [1]
    assert settling.next_deadline() == math.inf


def test_stopped_is_never_due() -> None:
    settling = Settling()
    settling.start(1, 1.0)
    settling.start(2, 2.0)
    settling.stop(1)
    settling.stop(99)
    assert 1 not in settling
    assert settling.next_deadline() == 2.0
    assert settling.due(9.0) == [2]


def test_stopped_and_started_again() -> None:
    settling = Settling()
    settling.start(1, 1.0)
    settling.stop(1)
    settling.start(1, 4.0)
    assert settling.due(2.0) == []
    assert settling.due(4.0) == [1]
