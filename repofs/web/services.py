"""What the routes of one daemon work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from repofs.config import Web
from repofs.registration.registry import Registry
from repofs.repository.as_user import Caller
from repofs.table import Form, Registration, Selection, Table
from repofs.web.csrf import Tokens
from repofs.web.sessions import Sessions

Register = Callable[[Caller, None, Registration], Awaitable[Table]]
"""Registers a table of whoever asks, as `Registrar.register` does."""

MayView = Callable[[Table, int], bool]
"""Whether a uid may see a table."""

Export = Callable[[Table, Form, Selection, int], Awaitable[None]]
"""Writes a table into a descriptor, as `Watch.export` does."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes need."""

    settings: Web
    sessions: Sessions
    tokens: Tokens
    names: frozenset[str]  # by which this machine may be called
    registry: Registry
    register: Register
    may_view: MayView
    export: Export
    readers: set[int] = field(default_factory=set)  # uids whose rows are under way


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


Here = Annotated[Services, Depends(_services)]
