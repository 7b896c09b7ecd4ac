"""Values as files give them."""

from __future__ import annotations

import numpy
import pytest

from repofs.formats.values import MAX_SIZE, moment, positive, possible, words


@pytest.mark.parametrize(
    ("value", "number"),
    [(2, 2.0), ("0.5", 0.5), (numpy.float32(1.5), 1.5), (0, None), (-1.0, None), ("", None), (None, None), ("x", None),
     (float("nan"), None), (float("inf"), None), (10**400, None), ([1.0], None), (1e308, 1e308)],
)  # fmt: skip
def test_positive(value: object, number: float | None) -> None:
    assert positive(value) == number


def test_a_product_that_is_too_large_is_none() -> None:
    assert positive(1e308, 1e3) is None


def test_possible() -> None:
    assert possible(1, MAX_SIZE) and not possible(1, 0) and not possible(MAX_SIZE + 1)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (" two \n words ", "two words"),
        (b"bytes\0", "bytes\N{REPLACEMENT CHARACTER}"),
        ("  ", None),
        (None, None),
        (3, None),
    ],
)
def test_words(value: object, line: str | None) -> None:
    assert words(value) == line


@pytest.mark.parametrize(
    ("value", "iso"),
    [("2014-06-18 15:55:27", "2014-06-18T15:55:27"), (" 18.06.2014 15:55:27 ", "2014-06-18T15:55:27"), ("", None),
     ("2014-13-40 15:55:27", None)],
)  # fmt: skip
def test_moments(value: str, iso: str | None) -> None:
    assert moment(value, "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S") == iso
