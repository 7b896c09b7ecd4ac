"""Users of a mount under test. They are ids: no account needs to exist."""

from __future__ import annotations

import contextvars
import os
import pickle
import signal
import subprocess
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from repofs.privileges import end_with_parent

Answer = TypeVar("Answer")

_ANYWHERE = Path("/")  # the directory of the tests may be closed to other users


@dataclass(frozen=True)
class Person:
    """Somebody who uses the mount: runs programs and functions with her own ids and no others."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; CalledProcessError when it fails and *check*."""
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", **self._ids(), **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def start(self, *command: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        """Start a program."""
        return subprocess.Popen(command, **self._ids(), **options)

    def _ids(self) -> dict[str, Any]:
        home = {"HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
        ids = {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}
        return {"cwd": _ANYWHERE, "umask": 0o022, "env": {**os.environ, **home}, **ids}

    def do(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call *function* in a forked child and return, or raise, what it did; its answer must be picklable.

        The child cannot import what lies where only root may read: import before.
        """
        return self.begin(function, *arguments)()

    def begin(self, function: Callable[..., Answer], *arguments: Any) -> Callable[[], Answer]:
        """Do it in the background; what is returned waits for its answer."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._answer(writer, function, arguments)
        os.close(writer)

        def answer() -> Answer:
            with os.fdopen(reader, "rb") as pipe:
                told = pipe.read()
            _, status = os.waitpid(child, 0)
            if not told:
                raise AssertionError(f"{function} ended its process: {os.waitstatus_to_exitcode(status)}")
            worked, what = pickle.loads(told)
            if not worked:
                raise what
            return what  # type: ignore[no-any-return]

        return answer

    def _answer(self, writer: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            self.become()
            # In a context of its own: that of TileDB, if the tests have used it, counts on threads that are not here.
            told = pickle.dumps((True, contextvars.Context().run(function, *arguments)))
        except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
            error.add_note(traceback.format_exc())
            told = _pickled(error)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(told)
        os._exit(0)

    def become(self) -> None:
        """Give this process, a child of the tests, the ids of this person; it ends with the tests."""
        parent = os.getppid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        os.umask(0o022)
        end_with_parent(signal.SIGKILL, parent)


def _pickled(error: BaseException) -> bytes:
    try:
        told = pickle.dumps((False, error))
        pickle.loads(told)
        return told
    except Exception:  # noqa: BLE001 - whatever an exception of a library holds
        return pickle.dumps((False, AssertionError(traceback.format_exc())))


LAB, ELSEWHERE = 61000, 61010  # gids

ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)  # of the same group as Alice
CAROL = Person("carol", 61003, ELSEWHERE)
ROOT = Person("root", 0, 0)
