"""A command of the administrator's, run for each piece of news with its line on standard input."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import trio

from repofs.events import News
from repofs.importer.hooks.delivery import DeliveryFailed
from repofs.threads import in_thread

# The importer ignores signals that the program, and what it starts, are to heed.
_HEEDING = ("/usr/bin/env", "--default-signal")
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_MOST_COMPLAINT = 1000  # bytes of standard error that are kept
_LAST_WORDS_SECONDS = 1.0  # for what it has started, and which has its standard error still


class Command:
    most = 1
    gather_seconds = 0.0

    def __init__(self, command: Sequence[str], user: str, timeout_seconds: float) -> None:
        self._command = command
        self._user = user
        self._timeout_seconds = timeout_seconds

    async def send(self, news: Sequence[News]) -> None:
        """Run the command to its end; DeliveryFailed unless it ends with 0 in its time."""
        for one in news:
            await self._run(one.line())

    async def _run(self, line: bytes) -> None:
        identity = await in_thread(self._identity)
        complaint = bytearray()
        reader, writer = os.pipe()
        async with trio.lowlevel.FdStream(reader) as said, trio.open_nursery() as nursery:
            nursery.start_soon(_keep_beginning, said, complaint)
            try:
                ended = await self._ended(line, writer, identity)
            finally:
                os.close(writer)
                nursery.cancel_scope.deadline = trio.current_time() + _LAST_WORDS_SECONDS
        if ended is None:
            raise DeliveryFailed(f"{self._command[0]} was killed after {self._timeout_seconds:g} s")
        if ended != 0:
            words = complaint.decode(errors="backslashreplace").strip() or "without a word"
            raise DeliveryFailed(f"{self._command[0]} ended with {ended}: {words}")

    async def _ended(self, line: bytes, complaints: int, identity: dict[str, Any]) -> int | None:
        """Return how the command has ended; None when it was killed because its time was up."""
        with trio.move_on_after(self._timeout_seconds):
            done = await trio.run_process(
                [*_HEEDING, *self._command],
                stdin=line,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                check=False,
                deliver_cancel=_kill,
                cwd="/",
                env=_ENVIRONMENT,
                start_new_session=True,
                **identity,
            )
            return done.returncode
        return None

    def _identity(self) -> dict[str, Any]:
        """Return as whom it runs: an account without root's rights; in an ordinary user's mount she herself."""
        if os.geteuid() != 0:
            return {}
        try:
            account = pwd.getpwnam(self._user)
        except KeyError:
            raise DeliveryFailed(f"there is no account {self._user}: name one by user") from None
        if account.pw_uid == 0:
            raise DeliveryFailed("a hook does not run as root: name an account by user")
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}


async def _keep_beginning(said: trio.abc.ReceiveStream, kept: bytearray) -> None:
    async for words in said:
        kept += words[: _MOST_COMPLAINT - len(kept)]


async def _kill(process: trio.Process) -> None:
    """End the command with all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
