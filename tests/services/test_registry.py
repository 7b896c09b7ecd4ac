"""The registry of tables: what it shows in Tables/."""

from __future__ import annotations

from repofs.registration.registry import Registry
from repofs.table import Place
from tests.helpers.tables import table


def test_tables_of_one_name_are_all_shown_whatever_others_are_called() -> None:
    registry = Registry()
    names = {1: "cells", 2: "cells.3", 3: "cells", 4: "other"}
    registry.load(table(number, Place("mount", "", b"alice_2/%d" % number), name=names[number]) for number in names)
    assert {number: registry.shown_name(registry.all()[number - 1]) for number in names} == {
        1: b"cells",
        2: b"cells.3",
        3: b"cells.3.3",
        4: b"other",
    }
