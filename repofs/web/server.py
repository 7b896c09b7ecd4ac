"""The HTTPS door in the daemon's nursery: Hypercorn speaks HTTP, and whatever happens to a connection stays in it.

Connections are met here rather than by `hypercorn.trio.serve`, in whose nursery one that breaks would end all others;
and their sending has a bound, as Hypercorn shields it from being cancelled.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from repofs.config import Web as WebSettings
from repofs.errors import AccessDenied, Busy, SettingsError
from repofs.people import People
from repofs.registration.registry import Registry
from repofs.repository.layout import Layout
from repofs.threads import in_thread
from repofs.web import address, app, certificate, csrf
from repofs.web.guard import ABORT, Guard
from repofs.web.services import Export, MayView, Register, Services
from repofs.web.sessions import Sessions
from repofs.web.transport import Transport

CONNECTIONS = 1024  # at a time
HANDSHAKE_SECONDS = 10.0
HEADERS_SECONDS = 10.0  # for a client to send the headers of its next request
CERTIFICATE_SECONDS = 3600.0  # how often the certificate is looked at: it may be another, or end soon

log = structlog.get_logger(__name__)

Serve = Callable[[trio.SSLStream[Transport], Callable[[], None]], Awaitable[None]]
"""Serves a connection to its end; the second ends it at once."""


class Web:
    """Serves the HTTP API of one repository."""

    def __init__(
        self,
        settings: WebSettings,
        layout: Layout,
        registry: Registry,
        people: Callable[[], People],
        register: Register,
        may_view: MayView,
        export: Export,
    ) -> None:
        self._settings = settings
        self._own = layout.web_certificate
        self.sessions = Sessions(settings.session_seconds, people)
        tokens, names = csrf.Tokens(settings.session_seconds), address.names(settings)
        self._services = Services(settings, self.sessions, tokens, names, registry, register, may_view, export)
        self.connections: set[Transport] = set()

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; tells the port once clients may come.

        Raises SettingsError for a certificate or an address that cannot be used, Busy for a port that is taken,
        AccessDenied for one that is root's; only before that.
        """
        host, port = address.listen(self._settings)
        self._tls = await self._context()
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=CONNECTIONS)
        except PermissionError as error:
            raise AccessDenied(
                f"nothing may listen at {self._settings.listen}, see web.listen: choose a port from 1024 on,"
                " or have the kernel allow it with sysctl net.ipv4.ip_unprivileged_port_start"
            ) from error
        except OSError as error:
            raise Busy(f"nothing can listen at {self._settings.listen}, see web.listen: {error}") from error
        task_status.started(listeners[0].socket.getsockname()[1])
        log.info("serving HTTPS", listen=self._settings.listen)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_certificate)
            try:
                await trio.serve_listeners(partial(self._meet, self._serving()), listeners, handler_nursery=nursery)
            finally:
                for transport in self.connections:
                    transport.end()

    def _serving(self) -> Serve:
        """Return what serves a connection: Hypercorn with the app."""
        guarded: Any = Guard(app.make(self._services), self._settings.requests)  # the same protocol, typed otherwise
        config = Config()
        config.accesslog = config.errorlog = None  # the guard writes the log
        config.include_server_header = False
        config.ssl_handshake_timeout = HANDSHAKE_SECONDS
        config.keep_alive_timeout = HEADERS_SECONDS
        context = WorkerContext(None)

        async def serve(stream: trio.SSLStream[Transport], abort: Callable[[], None]) -> None:
            await TCPServer(ASGIWrapper(guarded), config, context, ConnectionState({ABORT: abort}), cast(Any, stream))

        return serve

    async def _meet(self, serve: Serve, stream: trio.SocketStream) -> None:
        """Serve one connection to its end. Whatever it does, the daemon goes on."""
        transport = Transport(stream)
        if len(self.connections) >= CONNECTIONS:
            transport.end()
            return
        self.connections.add(transport)
        try:
            with trio.CancelScope() as scope:
                await serve(trio.SSLStream(transport, self._tls, server_side=True, https_compatible=True), scope.cancel)
        except Exception:
            log.exception("a connection over HTTPS broke")
        finally:
            self.connections.remove(transport)
            transport.end()

    async def _context(self) -> ssl.SSLContext:
        return await in_thread(certificate.context, self._settings, self._own)

    async def _keep_certificate(self) -> None:
        """Take a configured certificate that is another now, and renew our own before its end."""
        while True:
            await trio.sleep(CERTIFICATE_SECONDS)
            try:
                self._tls = await self._context()
            except (SettingsError, OSError) as error:
                log.error("the certificate cannot be read again: the one from before stays", reason=str(error))
