# SPDX-License-Identifier: MIT
"""A connection to a database that breaks between a commit and the answer to it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from sqlalchemy.engine import make_url


class Cutter:
    """Stands between a client and a server. When `armed`, the next commit is passed on and its answer is not."""

    def __init__(self, url: str) -> None:
        server = make_url(url)
        self._server = (str(server.host), int(server.port or 0))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = server.set(port=self._listener.getsockname()[1]).render_as_string(hide_password=False)
        self.armed = False
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(self._server)
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        with suppress(OSError), server, client:
            while data := client.recv(65536):
                if self.armed and b"COMMIT" in data:
                    self.armed = False
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    server.sendall(data)
                    _drain(server)
                    return
                server.sendall(data)


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what the server says, until the client is cut off."""
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _drain(server: socket.socket) -> None:
    """Leave the server the time to commit."""
    server.settimeout(1)
    with suppress(OSError):
        server.recv(1)
