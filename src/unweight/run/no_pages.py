"""Closes the pages that a scheduler or worker of Dask opens, before it takes any work (`--preload`).

Dask knows no option for it: without its dashboard there is still a server of HTTP, on a port of its own.
"""

from typing import Any


def dask_setup(server: Any) -> None:
    """Close the pages of a scheduler or worker; Dask calls this once it has started."""
    server.http_server.stop()
