# SPDX-License-Identifier: MIT
"""Energies by minute of a slot: checks what nodes deliver, writes it as short text, and adds it up over nodes. Pure.

The text has a part for each component and one for what was modelled, with dots between. A part is base64 (RFC 4648,
without `=`) of two bytes that say which minutes are known, and of the differences between these, zigzag and in groups of
seven bits as Protocol Buffers write them. It is exact. Equal minutes give equal text on every database.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from carbon_acct.db.models import METERED
from carbon_acct.known import sum_known
from carbon_collector.meters.base import COMPONENTS
from carbon_collector.units import SLOT_S

MINUTE_S = 60
COUNT = SLOT_S // MINUTE_S
"""The number of minutes in a slot."""
ESTIMATED = "estimated"
"""The name of what was modelled, beside the components."""
NAMES = (*COMPONENTS, ESTIMATED)

Values = Sequence[int | None]
"""The microjoules of each minute of a slot; None where nothing is known."""


class Share(Protocol):
    """A share of a record, as a node delivers it."""

    @property
    def energy_uj(self) -> int | None:
        """The energy of the slot."""

    @property
    def minute_uj(self) -> Any:
        """What the node says of its minutes, unchecked."""


def delivered(shares: Mapping[Any, Share]) -> tuple[str | None, bool]:
    """Return the text of a row's minutes, and whether the row has minutes that do not add up to its energies.

    There is a text only if all energies of the row have minutes that do.
    """
    found: dict[str, Values] = {}
    whole, wrong = True, False
    for name, share in shares.items():
        if share.minute_uj is None:
            whole = whole and share.energy_uj is None
        elif adds_up(share.minute_uj, share.energy_uj):
            found[name] = share.minute_uj
        else:
            wrong = True
    return (packed(found) if found and whole and not wrong else None), wrong


def adds_up(values: Any, energy_uj: int | None) -> bool:
    """Return whether these are the minutes of a slot, of which the known ones add up to its energy. No node is believed."""
    if not isinstance(values, list) or len(values) != COUNT:
        return False
    known = [uj for uj in values if uj is not None]
    return bool(known) and all(type(uj) is int and uj >= 0 for uj in known) and sum(known) == energy_uj


def packed(minutes: Mapping[str, Values]) -> str:
    """Return minutes by component as text."""
    return ".".join(_pack(minutes[name]) if name in minutes else "" for name in NAMES).rstrip(".")


def unpacked(text: str) -> dict[str, Values]:
    """Return the minutes by component that `packed` wrote."""
    return {name: _unpack(part) for name, part in zip(NAMES, text.split("."), strict=False) if part}


def summed(rows: Sequence[Mapping[str, Any]], estimated_uj: int | None) -> str | None:
    """Return the minutes of a run in a slot as text, from the rows of node_job_slot that count for it.

    None if a row has an energy without minutes. What was modelled is under ESTIMATED, if it is all of `estimated_uj`.
    """
    if not all(map(_is_whole, rows)):
        return None
    told = [row for row in rows if row["minutes"]]
    if len(told) == 1 and not any(told[0][f"{c}_method"] == "modelled" for c in COMPONENTS):
        return str(told[0]["minutes"])
    parts: dict[str, list[Values]] = defaultdict(list)
    for row in told:
        for name, values in unpacked(row["minutes"]).items():
            parts[name if row[f"{name}_method"] in METERED else ESTIMATED].append(values)
    sums = {name: [sum_known(column) for column in zip(*many, strict=True)] for name, many in parts.items()}
    if ESTIMATED in sums and sum_known(sums[ESTIMATED]) != estimated_uj:
        del sums[ESTIMATED]
    return packed(sums) if sums else None


def _is_whole(row: Mapping[str, Any]) -> bool:
    """Return whether all energies of a row have minutes. A row without minutes that has no energy is whole."""
    return bool(row["minutes"]) or all(row[f"{c}_uj"] is None for c in COMPONENTS)


def _pack(values: Values) -> str:
    known = before = 0
    content = bytearray(2)
    for at, uj in enumerate(values):
        if uj is None:
            continue
        known |= 1 << at
        step, before = uj - before, uj
        number = 2 * step if step >= 0 else -2 * step - 1
        while number > 127:
            content.append(number & 127 | 128)
            number >>= 7
        content.append(number)
    content[:2] = known.to_bytes(2, "little")
    return b64encode(content).rstrip(b"=").decode()


def _unpack(text: str) -> Values:
    content = b64decode(text + "=" * (-len(text) % 4))
    known = int.from_bytes(content[:2], "little")
    steps: list[int] = []
    number = shift = 0
    for byte in content[2:]:
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            steps.append(number >> 1 if not number & 1 else -(number + 1 >> 1))
            number = shift = 0
    values: list[int | None] = [None] * COUNT
    before = 0
    for at, step in zip((at for at in range(COUNT) if known >> at & 1), steps, strict=True):
        before = values[at] = before + step
    return values
