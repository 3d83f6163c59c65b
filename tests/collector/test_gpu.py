# SPDX-License-Identifier: MIT
"""Ring 4: the NVML meter on a real GPU. `pytest -m gpu`, where there is one."""

from __future__ import annotations

import time

import pytest

from carbon_collector.meters import nvml

pytestmark = pytest.mark.gpu


@pytest.fixture
def meter() -> nvml.Nvml:
    """The meter of this machine's GPUs."""
    found = nvml.find("", "/proc")
    if not isinstance(found.meter, nvml.Nvml):
        pytest.skip(f"no GPU can be read: {found.missing['gpu']}")
    return found.meter


def test_every_device_counts_energy_that_its_power_explains(meter: nvml.Nvml) -> None:
    """Each counter grows, by what a device can draw; no device is called simulated."""
    before, start = meter.read(), time.monotonic()
    time.sleep(3)
    after, elapsed = meter.read(), time.monotonic() - start

    assert before.keys() == after.keys() == {domain.name for domain in meter.domains}
    for domain in meter.domains:
        assert not domain.simulated
        first, last = before[domain.name].energy_uj, after[domain.name].energy_uj
        assert first is not None
        assert last is not None
        assert 1e6 < (last - first) / elapsed < domain.max_watts * 1e6


def test_devices_are_found_by_minor_number_and_by_uuid(meter: nvml.Nvml) -> None:
    """A ticket may name a device either way; a name that is no device stays as it is."""
    for minor, uuid in meter.by_index.items():
        assert meter.resolve(minor) == uuid
        assert meter.resolve(uuid) == uuid
    assert meter.resolve("4711") == "4711"
