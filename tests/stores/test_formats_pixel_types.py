"""Types of samples between numpy and OMERO."""

from __future__ import annotations

import numpy
import pytest

from repofs.formats.pixel_types import dtype_of, pixel_type


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("<u2", "uint16"), (">u2", "uint16"), ("i1", "int8"), ("f2", "float"), (">f8", "double"), ("?", "bit"),
     ("c8", "complex"), (">c16", "double-complex"), ("u8", None), ("S4", None), ("u3", None)],
)  # fmt: skip
def test_names(dtype: str, name: str | None) -> None:
    assert pixel_type(dtype) == name


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float", "double", "complex",
                                  "double-complex"])  # fmt: skip
def test_there_and_back(name: str) -> None:
    assert pixel_type(dtype_of(name)) == name


def test_a_bit_takes_a_byte() -> None:
    assert dtype_of("bit") == numpy.dtype("u1")
