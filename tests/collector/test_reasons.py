# SPDX-License-Identifier: MIT
"""docs/methodology.md names every reason for which a figure is less than measured."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from carbon_acct.sums import job_slot
from carbon_collector import claim
from carbon_collector.attribution import advance, books, counter, nesting, posting
from carbon_collector.meters import choice, dcmi, guard, integral, model, watching

METHODOLOGY = (Path(__file__).parents[2] / "docs/methodology.md").read_text()
CONSTANTS = {
    f"{module.__name__}.{name}": value
    for module in (advance, books, counter, nesting, posting, choice)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str) and " " in value
}
"""Every sentence that such a module has as a constant: a new one must be described."""
WITHIN = {
    advance: ("before the collector's first reading",),
    counter: (
        "in which the counter may have wrapped unseen",
        "counter jumped forward by more than the hardware can draw",
        "counter was reset",
    ),
    posting: ("no such device",),
    watching: ("a mirror", "not known yet whether"),
    guard: ("does not answer since",),
    integral: ("power was not seen for",),
    model: ("the CPUs that are online have changed",),
    claim: ("the meters of this host are read by another collector",),
}
"""Parts of reasons that are made where they are needed."""


@pytest.mark.parametrize("reason", [*CONSTANTS.values(), dcmi.NOT_ACTIVE, job_slot.SHARDS])
def test_every_reason_is_described(reason: str) -> None:
    """As the program writes it, so that who reads it in Quality finds it."""
    assert reason in METHODOLOGY


@pytest.mark.parametrize(("module", "parts"), WITHIN.items())
def test_reasons_that_are_made_are_described(module: object, parts: tuple[str, ...]) -> None:
    """The program still says so, and the page as well."""
    source = inspect.getsource(module)  # type: ignore[arg-type]
    for part in parts:
        assert part in source
        assert part in METHODOLOGY


def test_the_reasons_are_found() -> None:
    """The search for constants finds the known ones."""
    found = set(CONSTANTS.values())
    assert {advance.TAIL_GUESSED, counter.WENT_DOWN, nesting.CONTRADICTED, posting.PARTS_UNKNOWN, choice.DEAD} <= found
