# SPDX-License-Identifier: MIT
"""Text that users chose (names of jobs, above all) made safe for the place where it is shown.

Whoever names a job can put escape sequences, newlines, bytes that are no UTF-8, or a spreadsheet's
formula into its name, and an administrator's terminal or spreadsheet would obey them.
"""

from __future__ import annotations

import unicodedata

from carbon_collector.lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
FORMULA_STARTS = "=+-@\t\r\n＝＋－＠"
"""First characters that make spreadsheets take a cell for a formula (OWASP, CSV injection), full-width ones too."""


def visible(text: str) -> str:
    r"""`text` on one line: what does not print is written as an escape (`\n`, `\x1b`, `\u202e`)."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def escaped(text: str) -> str:
    """As `visible`, and a backslash as two, so that an escape cannot be mistaken for a name that looks like one."""
    return visible(text.replace("\\", "\\\\"))


def without(delimiter: str, text: str) -> str:
    """`text` without `delimiter`, where it holds one: the delimiter's first character is written as an escape."""
    if not delimiter or delimiter not in text:
        return text
    return text.replace(delimiter[0], _escape(delimiter[0]))


def defused(text: str) -> str:
    """`text` as a CSV cell that no spreadsheet takes for a formula: a leading apostrophe marks it as text."""
    return f"'{text}" if text[:1] and text[0] in FORMULA_STARTS else text


def width(text: str) -> int:
    """Columns of a terminal that `text` takes: East Asian wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def widths(texts: Sequence[str]) -> list[int]:
    """`width` of each."""
    return list(map(len if all(map(str.isascii, texts)) else width, texts))


def shortened(text: str, columns: int) -> str:
    """`text` in at most `columns` columns; `+` at the end says that something was cut off, as in sacct."""
    if 2 * len(text) <= columns or width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "+"


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return SHORT.get(char, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
