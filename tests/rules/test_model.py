"""Objects as people write them, times as logs show them, permission levels as OMERO spells them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.errors import InvalidValue
from repofs.model import Event, ObjectRef, PermissionLevel


@given(st.from_regex(r"[A-Z][A-Za-z]+", fullmatch=True), st.integers(1, 10**18 - 1))
def test_an_object_is_read_as_it_is_written(kind: str, number: int) -> None:
    assert ObjectRef.parse(str(ObjectRef(kind, number))) == (kind, number)


@given(st.text())
def test_any_text_is_an_object_or_refused(text: str) -> None:
    try:
        assert str(ObjectRef.parse(text)) == text
    except InvalidValue as error:
        assert "Fileset:17" in str(error)


@pytest.mark.parametrize("text", ["Fileset:0", "Fileset:²", "Fileset:1\n", "fileset:1", "F:1", "Fileset:" + "9" * 5000])
def test_what_is_no_object(text: str) -> None:
    with pytest.raises(InvalidValue):
        ObjectRef.parse(text)


@pytest.mark.parametrize(
    ("time_ns", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z said"),
        (1_700_000_000_123_999_999, "2023-11-14T22:13:20.123Z said"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999Z said"),
    ],
)
def test_a_line_of_a_log(time_ns: int, shown: str) -> None:
    assert str(Event(time_ns, "said")) == shown


def test_each_level_has_omeros_letters() -> None:
    assert [level.omero for level in PermissionLevel] == ["rw----", "rwr---", "rwra--", "rwrw--"]
