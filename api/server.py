"""The HTTP server of one process."""

from __future__ import annotations

import socket

import uvicorn

from api.hub import Hub


class Server(uvicorn.Server):
    """uvicorn, which waits for open requests when it stops; streams have no end of their own, so they are told."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then stop as uvicorn does."""
        self._hub.end_streams()
        await super().shutdown(sockets)
