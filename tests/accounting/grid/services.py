# SPDX-License-Identifier: MIT
"""A web service on loopback that answers as it is told, for providers to talk to over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came in; of a parameter given twice, the last."""

    path: str
    params: dict[str, str]
    headers: dict[str, str]


@dataclass
class Reply:
    """What is sent back. It goes out in `pieces`, each held back for `hold_s` first."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 1
    hold_s: float = 0


def as_json(value: object, status: int = 200, **headers: str) -> Reply:
    return Reply(json.dumps(value).encode(), status, headers={k.replace("_", "-"): v for k, v in headers.items()})


Answer = Callable[[Asked], Reply]


@dataclass
class Service:
    """A server whose `answer` may be changed at any time; `asked` is what it has been asked so far."""

    answer: Answer
    asked: list[Asked] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def say(self, *replies: Reply) -> None:
        """Give these replies in turn, the last one for ever."""
        left = list(replies)
        self.answer = lambda _asked: left.pop(0) if len(left) > 1 else left[0]

    def start(self) -> None:
        """Listen on a free port of loopback."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                params = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
                asked = Asked(url.path, params, {k.casefold(): v for k, v in self.headers.items()})
                service.asked.append(asked)
                self._send(service.answer(asked))

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.status)
                headers = {"Content-Type": reply.content_type, "Content-Length": str(len(reply.body)), **reply.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                size = max(1, -(-len(reply.body) // reply.pieces))
                try:
                    for at in range(0, len(reply.body), size):
                        service.closing.wait(reply.hold_s)
                        self.wfile.write(reply.body[at : at + size])
                        self.wfile.flush()
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Let go of everything, replies being held included."""
        self.closing.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
