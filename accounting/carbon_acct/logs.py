# SPDX-License-Identifier: MIT
"""The log of a server: one event a line on standard error, as text for people or as JSON for machines.

The same message about the same thing is logged at most once a minute, with the number of messages that were left out.
So a node whose records are refused, or a stranger who tries a thousand credentials, does not fill the disk.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from carbon_acct.client.safe_text import visible

EVERY_S = 60.0
MAX_REMEMBERED = 1000


class Quiet(logging.Filter):
    """A filter that passes a message once a minute. Two messages are the same if their template and first argument (the
    host) are.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: OrderedDict[tuple[str, object, object], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message is logged. It then carries the number of messages like it that were not."""
        first = record.args[0] if isinstance(record.args, tuple) and record.args else None
        key = (record.name, record.msg, str(first))
        now = self._clock()
        at, silent = self._said.pop(key, (now - EVERY_S, 0))
        if now - at < EVERY_S:
            self._said[key] = (at, silent + 1)
            return False
        self._said[key] = (now, 0)
        if len(self._said) > MAX_REMEMBERED:
            self._said.popitem(last=False)
        record.left_out = silent
        return True


class Text(logging.Formatter):
    """`program: message` on one line, with nothing in it that a terminal would obey."""

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        silent = getattr(record, "left_out", 0)
        more = f" (and {silent} more like it)" if silent else ""
        line = f"{self._program}: {visible(record.getMessage())}{more}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class Json(logging.Formatter):
    """A formatter that writes an object with `time`, `level`, `program`, `logger` and `message`, and `left_out` and
    `exception` if there are any.
    """

    def __init__(self, program: str) -> None:
        super().__init__()
        self._program = program

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "program": self._program,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if silent := getattr(record, "left_out", 0):
            said["left_out"] = silent
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


def start(program: str, form: str, debug: bool = False) -> None:
    """Log to standard error from now on; `form` is `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json(program) if form == "json" else Text(program))
    if not debug:
        handler.addFilter(Quiet())
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
