# SPDX-License-Identifier: MIT
"""The state on disk: a collector killed at any instant goes on where it was, because the counters went on counting.

Written whole at every reading, before anything that follows from it leaves the node.
"""

from __future__ import annotations

import os

from .errors import StateError
from .lean import jsontext
from .lean.named import TYPE_CHECKING
from .munge import digest
from .spool.spool import write_durably

if TYPE_CHECKING:
    from typing import Any


VERSION = 2
NAME = "state.json"


def save(folder: str, state: dict[str, Any], sync: bool = False) -> None:
    """Write the state. Raises OSError.

    Not synced at every reading: after a power failure the counters are new ones anyway.
    """
    body = _written({"version": VERSION, **state}).encode()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_durably(f"{folder}/{NAME}", f"{digest(body)}\n".encode() + body, sync=sync)


def _written(state: dict[str, Any]) -> str:
    """JSON, made piece by piece: the encoder holds every word of what it is given until it joins them, and memory that
    was needed for a moment stays with the process.
    """
    return "{" + ",".join(f"{jsontext.dumps(key)}:{_piece(value)}" for key, value in state.items()) + "}"


def _piece(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(jsontext.dumps, value)) + "]"
    return jsontext.dumps(value)


def load(folder: str) -> dict[str, Any] | None:
    """The state, or `None` where there is none yet. Raises StateError for one that is torn or foreign."""
    path = f"{folder}/{NAME}"
    try:
        with open(path, encoding="utf-8") as file:
            checksum, _, body = file.read().partition("\n")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as err:
        raise StateError(f"{path}: cannot be read: {err}") from err
    if digest(body.encode()) != checksum:
        raise StateError(f"{path}: is torn or was changed by hand")
    state: Any = jsontext.loads(body)
    version = state.get("version") if isinstance(state, dict) else None
    if version != VERSION:
        raise StateError(f"{path}: version {version} is not {VERSION}")
    return dict(state)


def set_aside(folder: str) -> None:
    """Keep an unusable state for a person to look at."""
    os.replace(f"{folder}/{NAME}", f"{folder}/{NAME}.bad")
