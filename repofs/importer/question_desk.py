"""What the mount asks of the catalogue: of an object, a page of views, sums, and how far verification is."""

from __future__ import annotations

import json

import msgspec

from repofs.catalog import usage, views
from repofs.catalog.engine import Engine
from repofs.catalog.objects import describe
from repofs.errors import InvalidValue, NotFound
from repofs.importer.scrub import Scrub
from repofs.importer.wire import Answer, Ask, AskVerified, Question, SumUp, View
from repofs.model import ObjectRef
from repofs.threads import in_thread
from repofs.usage import Sum, Sums
from repofs.views import Look, Page


class QuestionDesk:
    """Answers each question; changes nothing."""

    def __init__(self, catalogue: Engine, scrub: Scrub) -> None:
        self._catalogue = catalogue
        self._scrub = scrub

    async def see_to(self, question: Question) -> Answer:
        """Return the answer, as JSON."""
        try:
            return Answer(question.id, await self._answer(question))
        except (NotFound, InvalidValue) as error:
            return Answer(question.id, None, error.message, error.code)

    async def _answer(self, question: Question) -> str:
        match question:
            case Ask(what=what):
                return json.dumps(await in_thread(self._facts, ObjectRef.parse(what)))
            case View(look=look):
                return msgspec.json.encode(await in_thread(self._page, look)).decode()
            case SumUp(sums=sums):
                return msgspec.json.encode(await in_thread(self._sums, sums)).decode()
            case AskVerified():
                return json.dumps(await self._scrub.facts())

    def _facts(self, what: ObjectRef) -> dict[str, object]:
        with self._catalogue.begin() as conn:
            return describe(conn, what)

    def _page(self, look: Look) -> Page:
        with self._catalogue.begin() as conn:
            return views.page(conn, look)

    def _sums(self, asked: Sums) -> list[Sum]:
        with self._catalogue.begin() as conn:
            return usage.sums(conn, asked)
