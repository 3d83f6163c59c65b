# SPDX-License-Identifier: MIT
"""Counters followed over time: mirrors and dead counters are known by what they do, whatever they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.meters.watching import DEAD_US, LOOKS, WINDOWS, Group, Register

if TYPE_CHECKING:
    from collections.abc import Callable

JOULE = 1_000_000
SECOND = 1_000_000
MOMENT_US = 500
"""What it takes to read a few files."""


def watch(group: Group, watts: Callable[[str, int], float], looks: int, every_us: int, start: dict[str, int]) -> None:
    """Let each counter count its watts, and look at all of them every now and then."""
    values = {name: float(start.get(name, 0)) for name in group.names}
    group.see({name: int(uj) for name, uj in values.items()}, 0, MOMENT_US)
    for look in range(1, looks + 1):
        for name in values:
            values[name] += watts(name, look) * every_us
        group.see({name: int(uj) for name, uj in values.items()}, look * every_us, MOMENT_US)


@given(
    st.lists(st.integers(1, 20), min_size=2, max_size=16, unique=True),
    st.integers(1, 4),
    st.sampled_from([100_000, SECOND, 10 * SECOND]),
)
def test_what_counts_alike_is_one_and_what_differs_is_not(sockets: list[int], copies: int, every_us: int) -> None:
    """Sockets with other powers, each by several zones whose counters began anywhere: every copy is a mirror of a zone
    of its own socket, and every socket keeps one zone that is believed.
    """
    names = [f"{socket}:{copy}" for copy in range(copies) for socket in range(len(sockets))]
    group = Group(names, is_suspect=True)
    start = {name: 3_000_000_000 * at for at, name in enumerate(names)}
    watch(group, lambda name, _: 25.0 * sockets[int(name.partition(":")[0])], LOOKS + 1, every_us, start)

    assert {name.partition(":")[0] for name in group.mirrors} == (
        {n.partition(":")[0] for n in names} if copies > 1 else set()
    )
    assert all(name.partition(":")[0] == other.partition(":")[0] for name, other in group.mirrors.items())
    assert len(group.mirrors) == len(sockets) * (copies - 1)
    assert not group.undecided


def test_until_it_is_known_a_suspect_is_not_believed() -> None:
    """Counters that began apart may be mirrors: none of the group is believed before two looks have told them apart."""
    group = Group(["die-0", "die-3"], is_suspect=True)
    group.see({"die-0": 2_535_552_910, "die-3": 36_243_936_951}, 0, MOMENT_US)

    assert group.doubt("die-0") == group.doubt("die-3") == "not known yet whether die-3 mirrors die-0"
    for look in (1, 2):
        group.see(
            {"die-0": 2_535_552_910 + 60 * look * JOULE, "die-3": 36_243_936_951 + 35 * look * JOULE},
            look * SECOND,
            MOMENT_US,
        )
    assert group.doubt("die-0") == group.doubt("die-3") == ""


def test_mirrors_of_one_register_are_known_at_the_first_look() -> None:
    """Kernels 6.9 to 6.11 showed an EPYC's package once a CCD (26096aed255f): one value in all of them."""
    group = Group([f"die-{die}" for die in range(8)], is_suspect=True)
    group.see(dict.fromkeys(group.names, 123_456_789), 0, MOMENT_US)

    assert group.mirrors == {f"die-{die}": "die-0" for die in range(1, 8)}
    assert group.doubt("die-0") == ""


def test_equal_loads_on_two_sockets_are_no_mirror() -> None:
    """Packages of a machine that shows each once: two at the same constant power are two, for ever."""
    group = Group(["package-0", "package-1"], is_suspect=False)
    watch(group, lambda _, __: 180.0, 100, 10 * SECOND, {})

    assert not group.mirrors
    assert not group.undecided


def test_what_follows_another_through_its_changes_is_its_mirror() -> None:
    """The same packages, now one shows the other's register: load after load they count the same."""
    group = Group(["package-0", "package-1"], is_suspect=False)
    watch(group, lambda _, look: 100.0 if look % 2 else 300.0, WINDOWS, 10 * SECOND, {"package-1": 77})

    assert group.mirrors == {"package-1": "package-0"}


def test_a_reading_in_between_makes_no_two_of_one() -> None:
    """A reader that was held up between two files sees one register at two instants; the next look agrees again."""
    group = Group(["a", "b"], is_suspect=True)
    group.see({"a": 0, "b": 0}, 0, MOMENT_US)
    group.see({"a": 100 * JOULE, "b": 130 * JOULE}, SECOND, MOMENT_US)
    group.see({"a": 200 * JOULE, "b": 200 * JOULE}, 2 * SECOND, MOMENT_US)

    assert group.mirrors == {"b": "a"}


@pytest.mark.parametrize(("seconds", "dead"), [(1, False), (DEAD_US // SECOND, True)])
def test_a_counter_that_stands_still_is_dead_after_some_looks(seconds: int, dead: bool) -> None:
    """A guest's package that shows one value for ever (scaphandre#312, kepler#524); one that cannot be read says nothing."""
    register = Register()
    for tenth in range(seconds * 10 + 1):
        register.see(123_456_789, tenth * SECOND // 10)
    register.see(None, seconds * SECOND)

    assert register.is_dead(seconds * SECOND) is dead
    register.see(123_456_790, seconds * SECOND)
    assert not register.is_dead(seconds * SECOND)
