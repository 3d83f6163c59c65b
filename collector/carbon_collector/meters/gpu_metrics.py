# SPDX-License-Identifier: MIT
"""amdgpu's binary file gpu_metrics: a GPU's energy and power.

It begins with its size and two revision numbers; where the fields lie goes by the second (struct gpu_metrics_v1_*,
drivers/gpu/drm/amd/include/kgd_pp_interface.h). A field that a GPU does not have is all ones. Formats 2 and 3, of
processors with graphics, have no energy.
"""

from __future__ import annotations

from ..lean.typing import NamedTuple
from ..units import UJ_PER_J

UNIT_BITS = 16
"""The accumulator counts 2^-16 J, 15.259 uJ."""
WIDE, NARROW = 8, 4
OFFSETS = {0: (36, NARROW, 34), 1: (24, WIDE, 22), 2: (24, WIDE, 22), 3: (24, WIDE, 22)}
"""By content revision: where the energy lies and how many bytes it has, and where the power (watts, two bytes)."""
OFFSETS.update({4: (24, WIDE, 10), 5: (88, WIDE, 10), 6: (16, WIDE, 10), 7: (24, WIDE, 10), 8: (24, WIDE, 10)})
EARLY_6 = (88, WIDE, 10)
"""Revision 6 was first published with the fields of 5; the later one is four times as long."""
LIST = 9
"""From this revision on a list of attributes, each an encoding (type, id, count) and as many values."""
ATTRIBUTE_POWER, ATTRIBUTE_ENERGY = 3, 7


class Metrics(NamedTuple):
    """What the accumulator stands at, the power in watts (`None` for what the GPU does not tell), the revision."""

    units: int | None
    watts: int | None
    revision: int


def microjoules(units: int) -> int:
    """Return the energy that an accumulator's units mean."""
    return units * UJ_PER_J >> UNIT_BITS


def parse(data: bytes) -> Metrics:
    """Read the file's content. Raises ValueError for a format that has no energy, and for what is cut off."""
    form, revision = data[2:3], int.from_bytes(data[3:4], "little")
    if form != b"\1":
        raise ValueError(f"gpu_metrics: format {form.hex()} has no energy")
    if revision >= LIST:
        return _listed(data, revision)
    energy_at, width, power_at = EARLY_6 if revision == 6 and len(data) < 1000 else OFFSETS[revision]
    return Metrics(_field(data, energy_at, width), _field(data, power_at, 2), revision)


def _listed(data: bytes, revision: int) -> Metrics:
    found: dict[int, int | None] = {}
    at = 8
    for _ in range(int.from_bytes(data[4:8], "little")):
        encoding = _field(data, at, 8) or 0
        # Types are u8, s8, u16, s16 and so on: two a width.
        width, count, key = 1 << (encoding >> 21 & 7), encoding & 0x3FF, encoding >> 10 & 0x3FF
        found[key] = _field(data, at + 8, width)
        at += 8 + width * count
        if ATTRIBUTE_ENERGY in found and ATTRIBUTE_POWER in found:
            break
    return Metrics(found.get(ATTRIBUTE_ENERGY), found.get(ATTRIBUTE_POWER), revision)


def _field(data: bytes, at: int, width: int) -> int | None:
    """Return an unsigned number, or `None` if it is all ones."""
    field = data[at : at + width]
    if len(field) < width:
        raise ValueError("gpu_metrics: cut off")
    return None if field == b"\xff" * width else int.from_bytes(field, "little")
