"""A hook and what it has yet to deliver: all that is behind its cursor in the catalogue, in order, until it succeeds.

Nothing waits in memory. What was delivered when the importer died before it could say so is delivered again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
import trio

from repofs.catalog import news
from repofs.catalog.engine import Engine
from repofs.config import Hook
from repofs.events import READ_ONLY, News
from repofs.importer.commits import Commits
from repofs.importer.hooks.command import Command
from repofs.importer.hooks.delivery import DeliveryFailed
from repofs.importer.hooks.mail import Mailer
from repofs.importer.hooks.webhook import Webhook
from repofs.lifecycle import State
from repofs.threads import in_thread

PAUSE_SECONDS = 1.0, 600.0  # before what has failed is tried again: at first, at most

log = structlog.get_logger(__name__)


class Delivery(Protocol):
    """One way to tell somebody."""

    most: int  # pieces of news at a time
    gather_seconds: float  # that the first of several waits for others

    async def send(self, news: Sequence[News]) -> None:
        """Return when all are delivered; raises DeliveryFailed."""


def delivery(hook: Hook) -> Delivery:
    """Return what *hook* does."""
    if hook.command is not None:
        return Command(hook.command, hook.user, hook.timeout_seconds)
    if hook.webhook is not None:
        return Webhook(hook.webhook.get_secret_value(), hook.timeout_seconds)
    assert hook.mail is not None
    return Mailer(hook.mail, hook.timeout_seconds)


async def tell_read_only(hooks: Sequence[Hook], one: News) -> None:
    """Deliver *one*, which the catalogue does not have, by each of *hooks* that is for it; return when all have."""
    async with trio.open_nursery() as nursery:
        for hook in hooks:
            if READ_ONLY in hook.on:
                nursery.start_soon(_tell, hook, one)


async def _tell(hook: Hook, one: News) -> None:
    way, pause = delivery(hook), PAUSE_SECONDS[0]
    while True:
        try:
            await way.send([one])
            return
        except DeliveryFailed as error:
            log.warning("a hook has failed and is tried again", hook=hook.name, reason=str(error), seconds=pause)
        await trio.sleep(pause)
        pause = min(2 * pause, PAUSE_SECONDS[1])


class HookQueue:
    def __init__(self, hook: Hook, delivery: Delivery, catalogue: Engine, commits: Commits) -> None:
        self._name = hook.name
        self._kinds = [State(word) for word in hook.on if word != READ_ONLY]
        self._delivery = delivery
        self._catalogue = catalogue
        self._commits = commits
        self._delivered: int | None = None  # the number of the news delivered last; None: not known yet

    async def run(self) -> None:
        """Deliver until cancelled. Nothing that a hook meets with ends it, nor the imports."""
        pause = PAUSE_SECONDS[0]
        while True:
            try:
                await self._deliver()
                pause = PAUSE_SECONDS[0]
                continue
            except DeliveryFailed as error:
                log.warning("a hook has failed and is tried again", hook=self._name, reason=str(error), seconds=pause)
            except trio.BrokenResourceError:
                return  # the catalogue takes nothing more: the importer ends
            except Exception:
                log.exception("a hook has failed in an unforeseen way and is tried again", hook=self._name)
            await trio.sleep(pause)
            pause = min(2 * pause, PAUSE_SECONDS[1])

    async def _deliver(self) -> None:
        """Deliver what there is, or wait until there may be something."""
        if self._delivered is None:
            self._delivered = await self._commits.write(news.begin, self._name)
        committed = self._commits.committed.next
        if not await in_thread(self._waiting, self._delivered):
            await committed.wait()
            return
        await trio.sleep(self._delivery.gather_seconds)
        waiting = await in_thread(self._waiting, self._delivered)
        await self._delivery.send(waiting)
        self._delivered = waiting[-1].number
        await self._commits.write(news.delivered, (self._name, self._delivered))

    def _waiting(self, delivered: int) -> list[News]:
        with self._catalogue.begin() as conn:
            return news.after(conn, delivered, self._kinds, self._delivery.most)
