"""What the routes of one daemon work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from repofs.config import Web
from repofs.repository.as_user import Caller
from repofs.table import Registration, Table
from repofs.web.csrf import Tokens
from repofs.web.sessions import Sessions

Register = Callable[[Caller, None, Registration], Awaitable[Table]]
"""Registers a table of whoever asks, as `Registrar.register` does."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes need."""

    settings: Web
    sessions: Sessions
    tokens: Tokens
    names: frozenset[str]  # by which this machine may be called
    register: Register


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Here = Annotated[Services, Depends(_services)]
