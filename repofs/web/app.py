"""The HTTP API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from repofs.web import errors, registering
from repofs.web.services import Services

# What it would export, if the environment said so, has the query of each request: keys of sessions.
_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


def make(services: Services) -> FastAPI:
    """Return the app."""
    app = FastAPI(
        title="repofs", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, telemetry=_TELEMETRY
    )
    app.state.services = services
    errors.install(app)
    app.include_router(registering.router, prefix=services.settings.prefix)
    return app
