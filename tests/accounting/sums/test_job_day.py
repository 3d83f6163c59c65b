# SPDX-License-Identifier: MIT
"""A job's day that grows is the day of all its slots."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from carbon_acct.sums.job_day import ADDED, METHODS, SUMMED, WEIGHTS, growth, join

SOME = (SUMMED[0], *SUMMED[1:4], "energy_uj", "estimated_uj")
"""Columns that differ from slot to slot here; the others are never known."""

amounts = st.integers(0, 2**40)
Slot = dict[str, Any]
NOTES = (None, '["cpu: a"]', '["cpu: a", "gpu: b"]', '["dram: \\u00e9"]')


@st.composite
def slots(draw: Any) -> Slot:
    """What a day needs of a slot: many have the same labels, as they do in life."""
    slot: Slot = dict.fromkeys(SUMMED) | {name: draw(st.none() | amounts) for name in SOME}
    slot |= {name: float(draw(st.integers(0, 2**20))) for name in WEIGHTS}  # whole: their sums are exact
    slot |= dict.fromkeys(METHODS) | {METHODS[0]: draw(st.sampled_from(("counter", "counter", "modelled", None)))}
    slot |= {"simulated": draw(st.sampled_from((False, False, True))), "notes": draw(st.sampled_from(NOTES))}
    return slot | {"source_id": draw(st.sampled_from((2, 2, 10, 9)))}


@st.composite
def replaced(draw: Any, before: Slot | None) -> Slot | None:
    """What takes a slot's place: another figure only, as it mostly is, or anything, or nothing."""
    how = draw(st.sampled_from(("figures", "figures", "figures", "anything", "gone", "same")))
    if before is None or how == "anything":
        return draw(slots())  # type: ignore[no-any-return] # hypothesis' draw is untyped here
    if how == "gone":
        return None
    return before | {n: before[n] if before[n] is None else draw(amounts) for n in SOME if how == "figures"}


@st.composite
def changes(draw: Any) -> tuple[list[Slot], list[tuple[Slot | None, Slot | None]]]:
    """The slots of a day that stay, and those that come, are replaced or go."""
    before = draw(st.lists(st.none() | slots(), max_size=4))
    return draw(st.lists(slots(), max_size=3)), [(slot, draw(replaced(slot))) for slot in before]


def whole_day(many: list[Slot]) -> dict[str, Any]:
    """The day of these slots, by the definition of each of its columns."""
    day: dict[str, Any] = {}
    for name in ADDED:
        known = [slot[name] for slot in many if slot[name] is not None]
        day[name] = sum(known) if known else None
    for name in METHODS:
        day[name] = max((slot[name] for slot in many if slot[name]), default=None)
    day["simulated"] = any(slot["simulated"] for slot in many)
    notes = sorted({note for slot in many for note in json.loads(slot["notes"] or "[]")})
    day["notes"] = json.dumps(notes) if notes else None
    day["sources"] = ",".join(map(str, sorted({slot["source_id"] for slot in many})))
    return day


def added(day: dict[str, Any], grown: dict[str, Any]) -> dict[str, Any]:
    """What the database makes of a stored day and a row that is added to it."""
    join(grown, day)
    sums = {
        name: sum(known) if (known := [row[name] for row in (day, grown) if row[name] is not None]) else None
        for name in ADDED
    }
    return grown | sums


@given(changes())
def test_a_day_that_grows_is_the_day_of_all_its_slots(
    given_changes: tuple[list[Slot], list[tuple[Slot | None, Slot | None]]],
) -> None:
    """Whatever comes, is replaced or goes: the day is right, or it says that all slots have to be read."""
    others, pairs = given_changes
    before = whole_day([*others, *(was for was, _ in pairs if was)])
    after = whole_day([*others, *(now for _, now in pairs if now)])
    any_before = bool(others or any(was for was, _ in pairs))
    grown = growth(pairs)
    event("all slots" if grown is None else "grows" if grown else "nothing")
    if grown is None:
        return
    if not grown:
        assert before == after
    else:
        assert (added(before, grown) if any_before else grown) == after


@given(st.lists(slots(), min_size=1, max_size=4))
def test_slots_that_only_come_never_need_the_others(many: list[Slot]) -> None:
    """Of a running job nothing is read back, whatever its new slots say."""
    grown = growth([(None, slot) for slot in many])
    assert grown == whole_day(many)


@given(slots(), amounts)
def test_a_slot_that_is_settled_needs_no_other(slot: Slot, more: int) -> None:
    """A higher revision of a slot, with another figure: the day grows by the difference; the same again is nothing."""
    slot |= {"energy_uj": 7}
    grown = growth([(slot, slot | {"energy_uj": more})])
    assert grown is not None
    assert grown.get("energy_uj", 0) == more - 7
    assert growth([(slot, dict(slot))]) == {}


@given(slots())
def test_a_figure_that_comes_or_goes_needs_all_slots(slot: Slot) -> None:
    """Whether another slot of the day has a figure, nobody knows here."""
    known, unknown = slot | {"energy_uj": 7}, slot | {"energy_uj": None}
    assert growth([(known, unknown)]) is None
    assert growth([(unknown, known)]) is None
    assert growth([(known, None)]) is None
