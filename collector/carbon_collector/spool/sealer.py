# SPDX-License-Identifier: MIT
"""Seals records into a spool, and has the compactor make room where a segment does not fit."""

from __future__ import annotations

import os

from ..lean import json
from ..lean.typing import TYPE_CHECKING
from .segment import JOURNAL, segment

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .compactor import Compactor
    from .segment import Header, Spare
    from .spool import Spool


class Sealer:
    """Writes the segments of one spool. A merge that a killed collector has left unfinished is finished first."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self._compactor: Compactor | None = None
        if os.path.exists(f"{spool.folder}/{JOURNAL}"):
            from . import notes

            spool.forget_all(notes.unfinished(spool.folder))

    def seal(self, header: Header, sequence: int, records: Iterable[dict[str, Any]], spare: Spare) -> str:
        """Write one segment and return its name. Raises OSError where the disk, or the limit, does not allow it."""
        lines = [json.dumps(record).encode() for record in records]
        name, data = segment(header, sequence, spare.created, lines)
        if self.spool.should_shrink(len(data)):
            self._make_room(len(data), spare)
        self.spool.add(name, data)
        return name

    def _make_room(self, need: int, spare: Spare) -> None:
        if self._compactor is None:
            from .compactor import Compactor  # only in a long outage: the module costs memory

            self._compactor = Compactor(self.spool)
        self._compactor.make_room(need, spare)
