"""python -m repofs.importer --fd N DIRECTORY: started by the mount daemon (`link.py`), not by people."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import socket
from pathlib import Path

import trio

from repofs import fault_points, privileges
from repofs.importer import worker
from repofs.importer.wire import Channel

NICENESS = 10  # the mount answers people first; imports take what it leaves of the processors


def main() -> None:
    arguments = _arguments()
    fault_points.arm(with_parent=True)
    _give_up_rights()
    _leave_signals_to_the_mount()
    _raise_descriptor_limit()
    os.nice(NICENESS)
    os.umask(0o022)
    sock = socket.socket(fileno=arguments.fd)
    trio.run(_serve, arguments.directory, sock)


async def _serve(directory: Path, sock: socket.socket) -> None:
    await worker.serve(directory, Channel(sock))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="repofs.importer")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("directory", type=Path)
    return parser.parse_args()


def _give_up_rights() -> None:
    if os.geteuid() == 0:
        privileges.keep(privileges.IMPORTER)
    privileges.gain_none()
    privileges.hide_memory()
    privileges.end_with_parent(signal.SIGKILL, os.getppid())


def _leave_signals_to_the_mount() -> None:
    # A terminal's Ctrl-C and systemd's SIGTERM reach every process; the mount then says Stop, in good order.
    # SIGIO comes when somebody opens a file on which we hold a lease, and would end us.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)


def _raise_descriptor_limit() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    main()
