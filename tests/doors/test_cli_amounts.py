"""Ages, rates and samples as people write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from repofs.cli import amounts
from repofs.errors import InvalidValue

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("0s", timedelta(0)),
        ("90min", timedelta(minutes=90)),
        ("1.5h", timedelta(hours=1.5)),
        ("30d", timedelta(days=30)),
        ("2 w", timedelta(weeks=2)),
    ],
)
def test_an_age(text: str, age: timedelta) -> None:
    assert amounts.moment(text, NOW) == NOW - age


def test_a_time() -> None:
    assert amounts.moment("2026-11-01T10:00:00.123+00:00", NOW) == datetime(2026, 11, 1, 10, 0, 0, 123000, UTC)
    assert amounts.moment("2026-11-01", NOW) == datetime(2026, 11, 1).astimezone()


@pytest.mark.parametrize(
    ("text", "bytes_per_second"),
    [("100MB/s", 1e8), ("50 MiB/s", 50 * 2**20), ("1.5gb/s", 1.5e9), ("7B/s", 7)],
)
def test_a_rate(text: str, bytes_per_second: float) -> None:
    assert amounts.rate(text) == bytes_per_second


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("1000", 250), ("5%", 13), ("0.1%", 1), ("100%", 250)])
def test_a_sample(text: str, count: int) -> None:
    assert amounts.share(text, 250) == count
    assert amounts.share(text, 0) == 0


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        *(
            (lambda text: amounts.moment(text, NOW), text, "write 30d")
            for text in ("", "soon", "30", "-1d", "30 months")
        ),
        (lambda text: amounts.moment(text, NOW), "999999w", "write 30d"),
        *((amounts.rate, text, "write 100MB/s") for text in ("", "fast", "100", "100MB", "0MB/s", "-1MB/s", "1XB/s")),
        *(
            (lambda text: amounts.share(text, 9), text, "a number of files")
            for text in ("", "half", "0", "0%", "101%", "-1")
        ),
    ],
)
def test_what_is_none_is_told_with_an_example(read: Callable[[str], object], text: str, said: str) -> None:
    with pytest.raises(InvalidValue, match=said) as error:
        read(text)
    assert repr(text) in str(error.value)
