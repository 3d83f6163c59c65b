# SPDX-License-Identifier: MIT
"""Updates one line at the bottom of a terminal, while the program's output scrolls above it.

The last row is taken out of the scrolling region (DECSTBM, ECMA-48 and VT100), as apt's progress bar does. What the
program writes is never changed.
"""

from __future__ import annotations

import os

from .lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

SAVE, RESTORE, ERASE = "\x1b7", "\x1b8", "\x1b[K"
FEWEST_ROWS = 4


class StatusLine:
    """The line on the terminal behind `out`."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._rows = 0

    def show(self, texts: Sequence[str]) -> None:
        """Write the first of the texts that fits into the terminal's present width, else as much of the last one as does.
        Nothing is written on a terminal that is too small or has no size.
        """
        try:
            columns, rows = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            return
        if rows < FEWEST_ROWS or columns < 1:
            return
        begin = ""
        if rows != self._rows:
            # A new line first, so that the cursor is not in the row that is taken.
            begin = ("\n" if not self._rows else "") + f"{SAVE}\x1b[1;{rows - 1}r{RESTORE}"
            begin += "\x1b[1A" if not self._rows else ""
            self._rows = rows
        text = next((text for text in texts if len(text) < columns), texts[-1])
        self._out.write(f"{begin}{SAVE}\x1b[{rows};1H{text[: columns - 1]}{ERASE}{RESTORE}")
        self._out.flush()

    def end(self) -> None:
        """Erase the line, and return its row to the scrolling region."""
        if self._rows:
            self._out.write(f"{SAVE}\x1b[r\x1b[{self._rows};1H{ERASE}{RESTORE}")
            self._out.flush()
            self._rows = 0
