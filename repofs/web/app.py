"""The HTTP API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from repofs.web import errors, registering
from repofs.web.services import Services


def make(services: Services) -> FastAPI:
    """Return the app."""
    app = FastAPI(title="repofs", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.services = services
    errors.install(app)
    app.include_router(registering.router, prefix=services.settings.prefix)
    return app
