# SPDX-License-Identifier: MIT
"""Ring 4: the NVML meter on a real GPU. `pytest -m gpu`, where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carbon_collector.meters import nvml
from carbon_collector.meters.base import COUNTER, Place
from carbon_collector.meters.nvml_device import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.gpu
LOAD = Path(__file__).with_name("cuda_load.py")
LOAD_S = 15.0
WARM_UP_S = 4.0
MEASURE_S = 5.0


@pytest.fixture
def meter() -> Iterator[nvml.Nvml]:
    """The meter of this machine's GPUs."""
    found = nvml.find(Place("/sys", "/proc", "", ""))
    if not isinstance(found.meter, nvml.Nvml):
        pytest.skip(f"no GPU can be read: {found.missing['gpu']}")
    yield found.meter
    found.meter.close()


@pytest.fixture
def device(meter: nvml.Nvml) -> Device:
    """A GPU with a counter that is not partitioned."""
    for one in meter._devices.values():
        if one.domain.method == COUNTER and not one.slices:
            return one
    pytest.skip("no GPU here has a counter and is whole")


@pytest.fixture
def load(device: Device) -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps the GPU busy, and has done so for a while."""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": device.domain.name}
    with subprocess.Popen([sys.executable, LOAD, str(LOAD_S)], env=env, stderr=subprocess.PIPE) as process:
        time.sleep(WARM_UP_S)
        if process.poll() is not None and process.stderr is not None:
            pytest.skip(f"no work can be given to the GPU: {process.stderr.read().decode().splitlines()[-1:]}")
        yield process
        process.kill()


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
    """A ticket may name a device either way; a part of one by its UUID, in both spellings."""
    for name, part in meter.parts.items():
        assert part == meter.parts[part.uuid]
        assert name.isdigit() or name == part.uuid or name.startswith("MIG-GPU-")
        assert name.startswith("MIG-") == (part.share < 1000 or part.uuid.startswith("MIG-"))


def test_power_integrated_agrees_with_the_counter(device: Device, load: subprocess.Popen[bytes]) -> None:
    """What a GPU without a counter would be given for five busy seconds is what this one's counter says, to 5 %."""
    other = Device(device.nvml, device.handle, simulated=False)
    other.integrate()
    first, first_integrated = device.read().energy_uj, other.read().energy_uj
    deadline_s = time.monotonic() + MEASURE_S
    while time.monotonic() < deadline_s:
        time.sleep(nvml.SAMPLE_S)
        other.sample()
    last, last_integrated = device.read().energy_uj, other.read().energy_uj

    assert None not in (first, last, first_integrated, last_integrated)
    assert last_integrated - first_integrated == pytest.approx(last - first, rel=0.05)  # type: ignore[operator]


def test_what_a_process_does_is_known(meter: nvml.Nvml, device: Device, load: subprocess.Popen[bytes]) -> None:
    """A GPU that several jobs hold: the driver tells how busy each process kept it."""
    meter.shared = frozenset([device.domain.name])
    meter.read()
    time.sleep(MEASURE_S)
    meter.read()

    done = meter.activity[device.domain.name]
    if done and f"pid:{load.pid}" not in done:
        pytest.skip("NVML shows the processes of another PID namespace")
    assert done[f"pid:{load.pid}"] > 50


def test_slices_tell_how_busy_they_were(meter: nvml.Nvml) -> None:
    """On a partitioned GPU with GPM (Hopper and later) every MIG device has an activity, idle ones none to speak of."""
    partitioned = {name: one for name, one in meter._devices.items() if one.slices}
    if not partitioned:
        pytest.skip("no GPU here is partitioned (MIG)")
    meter.shared = frozenset(partitioned)
    meter.read()
    time.sleep(1)
    meter.read()
    if not meter.activity:
        pytest.skip("the driver has no GPM for these GPUs")

    for name, one in partitioned.items():
        assert meter.activity[name].keys() == {part.uuid for part in one.slices}
