"""repofs mount: present a repository as a drive, in the background or (for systemd) in the foreground."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from repofs.cli import readiness
from repofs.cli.exit_codes import ExitCode, report, sentence

if TYPE_CHECKING:
    from repofs.passthrough import Device

Ready = Callable[[], None]


def mount(
    directory: Annotated[Path, typer.Argument(metavar="DIR", readable=False, help="The repository.")],
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", readable=False, help="An empty directory.")],
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay; log to standard error.")] = False,
    options: Annotated[
        list[str] | None, typer.Option("-o", metavar="OPTION[,OPTION…]", help="Options of mount, as of fuse(8).")
    ] = None,
    ready_descriptor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Mount a repository; returns when the mount answers."""
    from repofs.cli.repository import require_owner
    from repofs.repository.layout import Layout

    layout = Layout.open(directory)
    require_owner(layout)
    target = Path(os.path.realpath(mountpoint))
    words = [option for given in options or () for option in given.split(",") if option]
    if foreground:
        raise typer.Exit(_serve(layout.root, target, words, readiness.Teller(ready_descriptor)))
    _start(layout.root, layout.log, target, words)


def _serve(repository: Path, mountpoint: Path, options: list[str], teller: readiness.Teller) -> int:
    """Serve the repository until it is unmounted; return the exit code. Tells systemd and *teller* how it goes."""
    from sdnotify import SystemdNotifier

    notifier = SystemdNotifier()

    def ready() -> None:
        notifier.notify("READY=1")
        teller.tell(readiness.READY)

    try:
        if os.geteuid() != 0:
            return _daemon(repository, mountpoint, options, teller, ready)
        return _launch(repository, mountpoint, options, teller, ready)
    finally:
        notifier.notify("STOPPING=1")


def _launch(repository: Path, mountpoint: Path, options: list[str], teller: readiness.Teller, ready: Ready) -> int:
    """Mount as root, and serve in a child that has few of root's rights."""
    from repofs import launcher

    def serve(device: Device, answers: Ready) -> int:
        def ready() -> None:
            teller.leave()
            answers()

        return _daemon(repository, mountpoint, launcher.daemon_options(options), teller, ready, device)

    try:
        return launcher.run(repository, mountpoint, options, serve, ready)
    except OSError as error:
        return _cannot(error, teller)


def _daemon(
    repository: Path,
    mountpoint: Path,
    options: list[str],
    teller: readiness.Teller,
    ready: Ready,
    device: Device | None = None,
) -> int:
    from repofs import daemon

    try:
        return daemon.run(repository, mountpoint, options, ready, device)
    except OSError as error:
        return _cannot(error, teller)


def _cannot(error: OSError, teller: readiness.Teller) -> int:
    teller.tell(sentence(error))
    return report(error)


def _start(repository: Path, log: Path, mountpoint: Path, options: list[str]) -> None:
    """Start the daemon in a session of its own and wait until the mount answers; Exit with its code when it fails."""
    heard, told = os.pipe()
    command = [sys.executable, "-m", "repofs", "mount", "--foreground", f"--ready-descriptor={told}"]
    command += [word for option in options for word in ("-o", option)]
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "wb") as output:
        child = subprocess.Popen(
            [*command, "--", str(repository), str(mountpoint)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[told],
            cwd="/",  # a daemon that stands in a directory keeps its file system from being unmounted
            start_new_session=True,
        )
    os.close(told)
    answer = readiness.listen(heard)
    if answer != readiness.READY:
        code = child.wait()
        print(f"repofs: {answer or f'the daemon ended at its start: {log} says why'}", file=sys.stderr)
        raise typer.Exit(code if code > 0 else ExitCode.FAILED)
    os.statvfs(mountpoint)
    print(f"{repository} is mounted on {mountpoint}")
