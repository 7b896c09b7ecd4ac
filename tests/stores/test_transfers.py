"""All transfers by name: OMERO's, reflink, and those that other packages add."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from repofs.errors import InvalidValue
from repofs.model import Transfer
from repofs.repository import transfers


class Tape:
    """A third party's."""

    name = "tape"
    in_place = removes = linked = False


class Impostor(Tape):
    name = "ln_s"


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    points = [SimpleNamespace(name=one.__name__, load=lambda one=one: one) for one in (Tape, Impostor)]
    monkeypatch.setattr(transfers, "entry_points", lambda group: points if group == transfers.ENTRY_POINTS else [])
    transfers.transfers.cache_clear()
    yield
    transfers.transfers.cache_clear()


def test_each_of_omeros_names_is_a_transfer() -> None:
    assert set(transfers.transfers()) >= set(Transfer)
    assert all(transfers.named(name).name == name for name in Transfer)
    assert [name for name in Transfer if transfers.named(name).removes] == ["upload_rm", "ln_rm", "cp_rm"]


def test_others_are_found_by_their_entry_points_and_take_no_name_of_omeros(others: None) -> None:
    assert isinstance(transfers.named("tape"), Tape)
    assert not isinstance(transfers.named("ln_s"), Impostor)


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    with pytest.raises(InvalidValue, match=r"'magic' is no transfer: there are .*ln_s"):
        transfers.named("magic")
