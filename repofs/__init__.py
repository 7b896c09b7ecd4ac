"""repofs: a mounted image repository for microscopy that imports what is copied into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repofs.client import download_table, get_table_columns, get_table_size, read_table, upload_table

__version__ = "0.1.0"
__all__ = ["download_table", "get_table_columns", "get_table_size", "read_table", "upload_table"]


def __getattr__(name: str) -> Any:
    """Load the functions for tables at their first use: every command imports this module."""
    if name in __all__:
        from repofs import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
