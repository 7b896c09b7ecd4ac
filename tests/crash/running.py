"""Writers at work."""

from __future__ import annotations

import faulthandler
import os
import traceback
from pathlib import Path

from tests.crash.writers import Writer
from tests.helpers.people import Person
from tests.helpers.waiting import until


class Running:
    """Writers at work, each in a process of its own with the ids of *person*."""

    def __init__(self, person: Person, writers: list[Writer], log: Path) -> None:
        self._log = log
        self._pids = {self._start(person, writer): writer.way.__name__ for writer in writers}

    def _start(self, person: Person, writer: Writer) -> int:
        child = os.fork()
        if child:
            return child
        faulthandler.disable()  # memory mapped from a mount that dies is a bus error, as it must be
        code = 1
        try:
            with self._log.open("a") as log:
                try:
                    person.become()
                    writer.run()
                    code = 0
                except BaseException:  # noqa: BLE001 - read from the log by the parent
                    log.write(f"{writer.way.__name__}: {traceback.format_exc()}\n")
        finally:
            os._exit(code)

    def wait(self) -> None:
        """Wait until all have ended; AssertionError when one of them met what it should not."""
        until(self._all_ended, lambda: f"the end of {list(self._pids.values())}", 60)
        assert not self._log.exists() or not self._log.read_text(), self._log.read_text()

    def _all_ended(self) -> bool:
        for pid in list(self._pids):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self._pids[pid]
        return not self._pids
