"""The two shapes of an answer in JSON, as the documentation knows them."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T")


class Data(BaseModel, Generic[T]):
    """What was asked for."""

    data: T


class Error(BaseModel):
    """What is wrong, in one sentence."""

    message: str


ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "Refused: what to do next"},
    "5XX": {"model": Error, "description": "Broken, or busy, or the store of the array is away"},
}
