"""Mail to the owners of what has failed: one for all news of some minutes, however many."""

from __future__ import annotations

import re
import smtplib
import ssl
from collections import Counter
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

import structlog

from repofs.config import Mail
from repofs.events import READ_ONLY, News
from repofs.importer.hooks.delivery import DeliveryFailed
from repofs.model import printable
from repofs.threads import in_thread

LISTED = 20  # pieces of news that a mail lists; the others are counted

_PORT = 25
_LOGIN_NAME = re.compile(r"[A-Za-z0-9._+-]+")  # what is no part of an address is told nobody

log = structlog.get_logger(__name__)


class Mailer:
    most = 10_000

    def __init__(self, settings: Mail, timeout_seconds: float) -> None:
        self.gather_seconds = settings.batch_seconds
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._told: dict[str, int] = {}  # the newest number that an address was told, while others could not be

    async def send(self, news: Sequence[News]) -> None:
        """Send each address its mail. DeliveryFailed when the server takes none now; who was told is not told again."""
        try:
            await in_thread(self._send, self._by_address(news), abandon_on_cancel=True)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise DeliveryFailed(f"{type(error).__name__}: {error}") from error
        self._told.clear()

    def _by_address(self, news: Sequence[News]) -> dict[str, list[News]]:
        mails: dict[str, list[News]] = {}
        for one in news:
            if _LOGIN_NAME.fullmatch(one.user) is None:
                log.error("no mail can be addressed to a user", user=one.user)
                continue
            address = self._settings.to.replace("{user}", one.user)
            if one.kind == READ_ONLY or one.number > self._told.get(address, 0):
                mails.setdefault(address, []).append(one)
        return mails

    def _send(self, mails: dict[str, list[News]]) -> None:
        if not mails:
            return
        host, _, port = self._settings.server.partition(":")
        with smtplib.SMTP(host, int(port or _PORT), timeout=self._timeout_seconds) as server:
            if self._settings.starttls:
                server.starttls(context=ssl.create_default_context())
            if self._settings.login is not None:
                server.login(self._settings.login, self._password())
            for address, news in mails.items():
                self._send_one(server, address, news)
                self._told[address] = news[-1].number

    def _send_one(self, server: smtplib.SMTP, address: str, news: Sequence[News]) -> None:
        try:
            server.send_message(message(self._settings.sender, address, news))
        except smtplib.SMTPRecipientsRefused as refused:
            code, reason = refused.recipients[address]
            if code < 500:
                raise
            # For good: nobody else is to wait for an address that there is not.
            log.error("a mail is refused", address=address, code=code, reason=str(reason))

    def _password(self) -> str:
        assert self._settings.password_file is not None
        return self._settings.password_file.read_text(encoding="utf-8").partition("\n")[0]


def message(sender: str, address: str, news: Sequence[News]) -> EmailMessage:
    """Return the mail that tells *news*."""
    counts = Counter(one.kind for one in news)
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Date"], mail["Message-ID"] = sender, address, formatdate(), make_msgid()
    mail["Subject"] = "repofs: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by a machine
    lines = [line for one in news[:LISTED] for line in _told(one)]
    if len(news) > LISTED:
        lines.append(f"and {len(news) - LISTED:,} more: repofs status lists what has failed.")
    mail.set_content("\n".join(lines) + "\n")
    return mail


def _told(one: News) -> list[str]:
    facts = one.facts()
    lines = [f"{one.kind}: {printable(str(facts['path'] or facts['source'] or 'the whole repository'))}"]
    if one.error:
        lines.append(f"  {printable(str(facts['error']))}")
    if facts["log"]:
        lines.append(f"  log: {printable(str(facts['log']))}")
    return [*lines, ""]
