"""Types of samples: as numpy has them, and as OMERO calls them."""

from __future__ import annotations

import numpy
from numpy.typing import DTypeLike

_OMERO_NAMES = {
    "bool": "bit", "int8": "int8", "uint8": "uint8", "int16": "int16", "uint16": "uint16", "int32": "int32",
    "uint32": "uint32", "float16": "float", "float32": "float", "float64": "double", "complex64": "complex",
    "complex128": "double-complex",
}  # fmt: skip
PIXEL_TYPES = frozenset(_OMERO_NAMES.values())
_NUMPY_NAMES = {"bit": "uint8", "float": "float32", "double": "float64", "complex": "complex64",
                "double-complex": "complex128"}  # fmt: skip


def pixel_type(dtype: DTypeLike) -> str | None:
    """Return OMERO's name of *dtype* in any byte order, None where OMERO, or numpy, has no such type."""
    try:
        return _OMERO_NAMES.get(numpy.dtype(dtype).name)
    except TypeError:  # a code like "u3"
        return None


def dtype_of(pixel_type: str) -> numpy.dtype:
    """Return the type that samples of OMERO's *pixel_type* have, in this machine's byte order; a bit is a byte."""
    return numpy.dtype(_NUMPY_NAMES.get(pixel_type, pixel_type))
