"""The HTTP API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from repofs.web import errors, pages, reading, registering, whoami
from repofs.web.answers import ERRORS
from repofs.web.services import Services

# What it would export, if the environment said so, has the query of each request: keys of sessions.
_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}

_DESCRIPTION = (
    "Who asks is told by the key of a session, as the parameter bsession or as Authorization: Bearer. "
    "The file .repofs/session in the mount gives its reader one."
)


def make(services: Services) -> FastAPI:
    """Return the app."""
    prefix = services.settings.prefix
    app = FastAPI(
        title="repofs",
        version="0",  # as in its paths
        description=_DESCRIPTION,
        openapi_url=f"{prefix}/api/openapi.json",
        docs_url=None,  # theirs load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_TELEMETRY,
    )
    app.state.services = services
    errors.install(app)
    for router in (registering.router, whoami.router, reading.router, pages.router):
        app.include_router(router, prefix=prefix, responses=ERRORS)
    return app
