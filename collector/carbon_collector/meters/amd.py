# SPDX-License-Identifier: MIT
"""AMD's GPUs: the energy accumulator of gpu_metrics, else that of amdsmi, else power from hwmon, integrated.

docs/adr/0005 says why in this order. An MI250X is two GPUs (GCDs) to everybody, but one of them counts the energy
of both and the other none: its domain is the card, of which each GCD is half.
"""

from __future__ import annotations

import time

from ..host import read_text
from ..lean.typing import TYPE_CHECKING
from .accumulator import UNREADABLE, Watched, watch, why
from .base import COUNTER, INTEGRATED, WHOLE, Domain, Found, Meter, Part, Place, Reading
from .gpu_metrics import UNIT_BITS, microjoules, parse
from .integral import Integral, now_us
from .sockets import sockets
from .sysfs import AMD, DUAL_DIE, cards, is_simulated, listed, read_bytes, read_number, sensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from .amd_smi import AmdSmi
    from .sysfs import Card

MI200 = ("0x740", "0x741")
WHOLE_SOCKET = "0x74a0"
"""MI300A: what it counts is the socket, cores included."""
MAX_WATTS = 2_000
"""More than any card draws (MI355X: 1,400 W)."""
NARROW_WATTS = 1_000
NARROW_RANGE_UJ = 1_000_000 << 32 - UNIT_BITS
"""Before MI200 the firmware's accumulator has 32 bits (EnergyAccumulator in smu11_driver_if_*.h): 65,536 J."""
SAMPLE_S = 1.0
LONGEST_US = 5_000_000
STILL_S = 30.0
"""An accumulator that has not moved for so long will not."""


class Gpu:
    """A card as it is read: by its accumulator, else by its power in microwatts."""

    def __init__(
        self, domain: Domain, units: Callable[[], int], power: Callable[[], int], patience_s: float = STILL_S
    ) -> None:
        self.domain = domain
        self.counts = domain.method == COUNTER
        self._units = units
        self._power = power
        self._patience_s = patience_s
        self._integral = Integral(LONGEST_US)
        self._last = -1
        self._moved_s = time.monotonic()

    def read(self) -> Reading:
        """Return the energy so far."""
        try:
            if self.counts:
                return self._count()
            self.sample()
        except UNREADABLE as err:
            return Reading(None, why(err))
        return self._integral.reading(now_us())

    def sample(self) -> None:
        """Look at the power; one that no card draws is not seen. Raises OSError, ValueError."""
        power_uw = self._power()
        if 0 <= power_uw <= self.domain.max_watts * 1_000_000:
            self._integral.add(power_uw, now_us())

    def gives_up(self) -> bool:
        """Take the power from now on if the accumulator stands still for long while power is drawn. Returns whether
        that has just begun.
        """
        if not self.counts or time.monotonic() - self._moved_s < self._patience_s:
            return False
        try:
            power = self._power()
        except UNREADABLE:
            return False
        if power > 0:
            self.counts = False
            self.domain = self.domain._replace(method=INTEGRATED, range_uj=0)
        return not self.counts

    def _count(self) -> Reading:
        units = self._units()
        if units != self._last:
            self._last, self._moved_s = units, time.monotonic()
        return Reading(microjoules(units), "")


class Amd(Meter):
    """The cards of one node."""

    def __init__(self, gpus: list[Gpu], parts: dict[str, Part]) -> None:
        super().__init__([gpu.domain for gpu in gpus], parts)
        self._gpus = {gpu.domain.name: gpu for gpu in gpus}
        self._choose_pace()

    def read(self) -> dict[str, Reading]:
        """Read every card; one that is gone does not stop the others."""
        readings = {domain.name: self._gpus[domain.name].read() for domain in self.domains}
        if [domain for domain in self.domains if self._gpus[domain.name].gives_up()]:
            self.found = tuple(gpu.domain for gpu in self._gpus.values())
            self._choose_pace()
        return readings

    def sample(self) -> None:
        """Look at the power of those that do not count."""
        for gpu in [self._gpus[domain.name] for domain in self.domains]:
            if not gpu.counts:
                try:
                    gpu.sample()
                except UNREADABLE:
                    continue  # not seen; the next reading says so if it was for long

    def _choose_pace(self) -> None:
        self.sample_s = SAMPLE_S if any(not gpu.counts for gpu in self._gpus.values()) else 0.0


def find(place: Place) -> Found:
    """Find the cards and what of each can be believed."""
    found = cards(place.sysfs, AMD)
    if not found:
        return Found(None, {"gpu": f"no AMD GPU in {place.sysfs}/class/drm"})
    watched = {card: Watched(_metrics(card), _power(card)) for card in found}
    watch(list(watched.values()))
    primary = _primaries(watched)
    lost = [card for card in set(primary.values()) if watched[card].fault]
    if lost:
        watched.update(_by_library(lost))
    names = _names(found)
    simulated = is_simulated(f"{place.sysfs}/class/drm")
    ids = sockets(place.sysfs, place.procfs)
    gpus = [_gpu(card, names[card], watched[card], simulated, ids) for card in found if primary[card] == card]
    parts: dict[str, Part] = {}
    # Slurm counts the partitions of an MI300, and which card such a number is on is not known: no index at all.
    whole = {"", "SPX"}.issuperset(read_text(f"{card.path}/current_compute_partition") for card in found)
    for index, card in enumerate(found):
        share = WHOLE // 2 if list(primary.values()).count(primary[card]) == 2 else WHOLE
        part = Part(names[primary[card]], share, names[card])
        numbers = (str(index), card.render) if whole else ()
        parts.update(dict.fromkeys(filter(None, (*numbers, names[card])), part))
    return Found(Amd(gpus, parts), {})


def _primaries(watched: dict[Card, Watched]) -> dict[Card, Card]:
    """Return for each card the card that counts its energy. The two GCDs of an MI250X, which are neighbours on the bus,
    share one.
    """
    primary = {card: card for card in watched}
    dies = [card for card in watched if card.device in DUAL_DIE]
    if len(dies) % 2:
        return primary  # one is lost, and nobody can say whose
    for pair in zip(dies[::2], dies[1::2]):
        first = pair[1] if watched[pair[0]].is_zero and not watched[pair[1]].is_zero else pair[0]
        if any(watched[card].is_zero for card in pair):
            primary.update(dict.fromkeys(pair, first))
    return primary


def _by_library(lost: list[Card]) -> dict[Card, Watched]:
    """Return those of the cards that amdsmi can count, each with its accumulator."""
    try:
        from .amd_smi import AmdSmi

        library = AmdSmi()
    except Exception:  # noqa: BLE001 - whatever a foreign library does ends here
        return {}
    watched = {card: Watched(_counted_by(library, card), _power(card)) for card in lost}
    watch(list(watched.values()))
    return {card: one for card, one in watched.items() if not one.fault}


def _gpu(card: Card, name: str, watched: Watched, simulated: bool, ids: list[int]) -> Gpu:
    counts = not watched.fault
    narrow = counts and _is_narrow(card)
    node = read_text(f"{card.path}/numa_node")
    socket = node if node.isdigit() else str(ids[0]) if len(ids) == 1 else ""
    inside = (f"package-{socket}", f"socket-{socket}", f"model-cpu-{socket}")
    domain = Domain(
        name=name,
        component="gpu",
        socket=-1,
        range_uj=NARROW_RANGE_UJ if narrow else 0,
        max_watts=NARROW_WATTS if narrow else MAX_WATTS,
        method=COUNTER if counts else INTEGRATED,
        simulated=simulated,
        contains=inside if card.device == WHOLE_SOCKET else (),
    )
    return Gpu(domain, watched.units, watched.power)


def _is_narrow(card: Card) -> bool:
    try:
        metrics = parse(read_bytes(f"{card.path}/gpu_metrics"))
    except UNREADABLE:
        return False
    return metrics.revision < 4 and not card.device.startswith(MI200) and (metrics.units or 0) < 1 << 32


def _metrics(card: Card) -> Callable[[], int]:
    """Return a function that reads a card's own accumulator, in 2^-16 J."""

    def units() -> int:
        found = parse(read_bytes(f"{card.path}/gpu_metrics")).units
        if found is None:
            raise ValueError("gpu_metrics: has no energy")
        return found

    return units


def _counted_by(library: AmdSmi, card: Card) -> Callable[[], int]:
    return lambda: library.units(card.address)


def _power(card: Card) -> Callable[[], int]:
    """Return a function that reads a card's power in microwatts: from hwmon, in a file whose name depends on the chip,
    else from gpu_metrics.
    """
    for folder in sensors(card):
        for name in ("power1_average", "power1_input"):
            if name in listed(folder):
                return lambda: read_number(f"{folder}/{name}")

    def watts() -> int:
        found = parse(read_bytes(f"{card.path}/gpu_metrics")).watts
        if found is None:
            raise ValueError("neither energy nor power")
        return found * 1_000_000

    return watts


def _names(found: list[Card]) -> dict[Card, str]:
    """Return the names of the cards, as in ROCR_VISIBLE_DEVICES. A card without an id of its own is named by its
    address.
    """
    ids = {card: read_text(f"{card.path}/unique_id").lower() for card in found}
    seen = list(ids.values())
    return {card: f"GPU-{i}" if i.strip("0") and seen.count(i) == 1 else card.address for card, i in ids.items()}
