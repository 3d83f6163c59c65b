# SPDX-License-Identifier: MIT
"""GPUs through the real nvidia-ml-py on a stand-in libnvidia-ml.so.1 that is compiled here."""

from __future__ import annotations

import itertools
import math
import threading
import time
from typing import TYPE_CHECKING

import pytest

from simulator.nvml_state import NO_ENERGY, NO_MINOR, NO_POWER

from .gpus import Gpus, ask, start
from .process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from .process import Host

JOULE = 1_000_000
DEADLINE_S = 2.0


def gpus_of(host: Host, minors: list[int]) -> Gpus:
    """Devices of the host."""
    return Gpus(host.root / "nvml-state", minors)


def gpu_share(host: Host, job_id: int) -> dict[str, object]:
    """What the only row of a job says of its GPUs."""
    [row] = host.aggregator.of("job_slot", job_id)
    share: dict[str, object] = row["components"]["gpu"]
    return share


def test_a_gpu_is_found_by_its_minor_number(host: Host, library: Path) -> None:
    """Slurm's index is the device file's number, not the place in NVML's list; energy nobody holds is idle."""
    gpus = gpus_of(host, [1, 0])
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="1")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="GPU-1")
    gpus.count(30, 7)
    host.tick()
    host.ticket("epilog", 2, SLURM_JOB_GPUS="0")
    gpus.count(5, 2)
    host.tick()
    got = host.collect()

    assert [ledger["gpus"] for job in (1, 2) for ledger in got.of("ledger", job)] == [["GPU-0"], ["GPU-1"]]
    assert got.energy("gpu", 1) == 35 * JOULE
    assert got.energy("gpu", 2) == 7 * JOULE
    assert got.energy("gpu") == 44 * JOULE
    assert got.is_conserved()
    assert all(row["simulated"] for row in got.of("job_slot", 1))


def test_a_gpu_without_a_minor_number_is_known_by_its_uuid_alone(host: Host, library: Path) -> None:
    """No index is guessed for it: a job that names it by UUID pays for it, one that names an index is not sure to."""
    gpus = gpus_of(host, [0])
    gpus.more[0].flags = NO_MINOR
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0", CUDA_VISIBLE_DEVICES="GPU-0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="0")
    gpus.count(30)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (30 * JOULE, None)
    assert gpu_share(host, 2)["reason"] == "0: no such device"


def test_a_gpu_that_falls_off_the_bus_takes_no_other_with_it(host: Host, library: Path) -> None:
    """Its energy is known up to then, and the row says why not further; the other one goes on."""
    gpus = gpus_of(host, [0, 1])
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    gpus.count(10, 10)
    host.tick()
    gpus.lose(0)
    gpus.count(10, 10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (10 * JOULE, 20 * JOULE)
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["reason"] == "GPU-0: nvml: gpu is lost"
    assert row["components"]["gpu"]["metered_us"] < row["alloc_us"]
    assert got.is_conserved()


def test_a_gpu_that_is_lost_from_the_start_takes_no_other_with_it(host: Host, library: Path) -> None:
    """The collector starts on a node with a dead device: that one is unknown, the others are metered."""
    gpus = gpus_of(host, [0, 1])
    gpus.lose(0)
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    gpus.count(10, 10)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (None, 10 * JOULE)


def test_a_counter_that_was_reset_is_a_gap(host: Host, library: Path) -> None:
    """It starts again from nothing: no wrap, no energy invented."""
    gpus = gpus_of(host, [0])
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    gpus.count(40)
    host.tick()
    gpus.devices[0].energy_mj = 5
    host.tick()
    gpus.count(3)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 43 * JOULE
    assert gpu_share(host, 1)["reason"] == "GPU-0: counter was reset"


@pytest.mark.parametrize("jump_j", [100_000, 130])
def test_a_counter_that_lies_is_a_gap(host: Host, library: Path, jump_j: int) -> None:
    """A board of 30 W cannot have drawn that: nothing of it is billed, it is said once, and what follows counts."""
    gpus = gpus_of(host, [0])
    gpus.more[0].max_limit_mw = 30_000
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    gpus.count(10)
    host.tick()
    gpus.count(jump_j)
    host.tick()
    gpus.count(5)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 15 * JOULE
    assert gpu_share(host, 1)["reason"] == "GPU-0: counter jumped forward by more than the hardware can draw"
    assert host.said().count("jumped forward") == 1
    assert got.is_conserved()


def test_a_driver_that_is_loaded_anew_is_a_gap_and_no_more(host: Host, library: Path) -> None:
    """Every handle is void then: devices are looked up again by UUID, and the job goes on without a restart."""
    gpus = gpus_of(host, [0, 1])
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="1")
    gpus.count(40, 40)
    host.tick()
    gpus.load_driver(in_order=(1, 0))
    for _ in range(3):
        host.tick()
    gpus.count(3, 3)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 43 * JOULE
    assert gpu_share(host, 1)["reason"] == "GPU-1: nvml: unknown error"
    assert host.said().count("GPU-1: is read again") == 1
    assert got.is_conserved()


@pytest.mark.slow
def test_a_driver_that_is_away_comes_back(host: Host, library: Path) -> None:
    """Unloaded and loaded again with one GPU more: all of them are metered then, the new one too."""
    gpus = Gpus(host.root / "nvml-state", [0, 1])
    gpus.lose(1)
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0,1")
    gpus.driver.unloaded = 1
    host.tick()
    host.tick()
    gpus.load_driver()
    gpus.lose(1, lost=False)
    gpus.driver.unloaded = 0
    eventually(lambda: len(host.last()["readings"]) == 6 and "is read again" in host.said(), "both are read", 20)
    host.tick()
    gpus.count(3, 4)
    host.tick()
    got = host.collect()

    assert got.energy("gpu", 1) == 7 * JOULE
    assert [ledger["gpus"] for ledger in got.of("ledger", 1)] == [["GPU-0", "GPU-1"]]
    assert got.is_conserved()


@pytest.mark.slow
def test_a_driver_that_hangs_delays_nobody(host: Host, library: Path) -> None:
    """CPUs are read and tickets are taken in meanwhile; it is said once, and what the GPU counted meanwhile is not lost."""
    gpus = gpus_of(host, [0])
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    gpus.count(10)
    host.tick()
    gpus.driver.hang = 1
    host.tick()
    begun_s = time.monotonic()
    for _ in range(5):
        host.node.count(JOULE)
        host.tick()
    host.ticket("prolog", 2)
    hung_s = time.monotonic() - begun_s
    gpus.count(500)
    gpus.driver.hang = 0
    moved = 0

    def is_back() -> bool:
        nonlocal moved
        moved += 1
        host.node.count(1)  # counters that stand still for a second are not believed
        return "GPU-0: is read again" in host.said()

    eventually(is_back, "the driver is back")
    gpus.count(7)
    host.tick()
    got = host.collect()

    assert hung_s < 3 * DEADLINE_S  # six readings: the one that found out was waited for, no other
    assert got.energy("cpu") == 10 * JOULE + 2 * moved
    [row] = got.of("job_slot", 1)
    assert row["components"]["cpu"]["metered_us"] == row["alloc_us"]
    assert row["components"]["gpu"]["metered_us"] == row["alloc_us"]
    assert got.energy("gpu", 1) == 517 * JOULE
    assert host.said().count("does not answer") == 1
    assert got.is_conserved()


@pytest.mark.slow
def test_a_driver_that_needs_long_to_start_is_taken_in_late(host: Host, library: Path) -> None:
    """The CPUs do not wait for it; when the GPUs are there they are metered, without a restart."""
    gpus = gpus_of(host, [0])
    gpus.driver.hang_init = 1
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.node.count(JOULE)
    host.tick()
    assert "GPU-0" not in host.last()["readings"]
    gpus.driver.hang_init = 0
    eventually(lambda: "GPU-0" in host.last()["readings"], "the GPU is read")
    gpus.count(6)
    host.tick()
    got = host.collect()

    assert got.energy("cpu") == 2 * JOULE
    assert got.energy("gpu", 1) == 6 * JOULE
    share = gpu_share(host, 1)
    assert "does not answer yet" in str(share["reason"])
    assert share["method"] == "counter"


@pytest.mark.slow
def test_without_a_counter_power_is_integrated(host: Host, library: Path) -> None:
    """Before Volta: a power that goes up and down within a second is followed, and the row says how.

    To a per cent where the machine is not busy; the instant of a reading is known no better than this.
    """
    gpus = gpus_of(host, [0])
    gpus.more[0].flags = NO_ENERGY
    gpus.devices[0].power_mw = 200_000
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    stop, truth = threading.Event(), [(time.monotonic_ns(), 200_000)]

    def animate() -> None:
        while not stop.wait(0.005):
            now_ns = time.monotonic_ns()
            gpus.devices[0].power_mw = round(200_000 + 100_000 * math.sin(now_ns / 1e9 * 2 * math.pi))
            truth.append((now_ns, gpus.devices[0].power_mw))

    thread = threading.Thread(target=animate)
    thread.start()
    time.sleep(0.3)
    host.tick()
    first = host.last()
    time.sleep(4)
    host.tick()
    last = host.last()
    stop.set()
    thread.join()
    host.collect()

    steps = itertools.pairwise(truth)
    span = (first["mono_us"] * 1000, last["mono_us"] * 1000)
    true_uj = sum(mw * max(0, min(b, span[1]) - max(a, span[0])) for (a, mw), (b, _) in steps) // 1_000_000
    assert last["readings"]["GPU-0"] - first["readings"]["GPU-0"] == pytest.approx(true_uj, rel=0.03)
    assert gpu_share(host, 1)["method"] == "integrated"
    assert host.aggregator.is_conserved()


@pytest.mark.slow
def test_a_counter_that_stands_still_under_power_is_given_up(host: Host, library: Path) -> None:
    """AMD's counters are known to freeze until a reboot (ROCm/amdsmi#38, hpcfund#21); one of NVIDIA's that does is no
    better: the power is integrated, a power of 4 GW once is not seen, and the row says how.
    """
    pace = "from carbon_collector.meters import nvml_device; nvml_device.STILL_US = 1_500_000; "
    host.program[-1] = host.program[-1].replace("from carbon_collector.cli", f"{pace}from carbon_collector.cli")
    gpus = gpus_of(host, [0])
    gpus.devices[0].power_mw = 200_000
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    for look in range(40):
        time.sleep(0.1)
        gpus.devices[0].power_mw = 4_294_967_295 if look == 30 else 200_000
        host.tick()
    got = host.collect()
    share = gpu_share(host, 1)

    assert share["method"] == "integrated"
    assert share["energy_uj"] / share["metered_us"] == pytest.approx(200, rel=0.1)
    assert 0 < share["metered_us"] < got.of("job_slot", 1)[0]["alloc_us"] - 1_000_000


@pytest.mark.slow
def test_a_power_that_the_collector_did_not_see_is_a_gap(host: Host, library: Path) -> None:
    """It was stopped for longer than a power can be guessed over: nothing is invented for that time."""
    gpus = gpus_of(host, [0])
    gpus.more[0].flags = NO_ENERGY
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    with host.frozen():
        time.sleep(2.2)
    host.tick()
    host.collect()

    assert "GPU-0: power was not seen for" in str(gpu_share(host, 1)["reason"])


def test_a_gpu_that_has_neither_counter_nor_power_is_missing(host: Host, library: Path) -> None:
    """Its job shows what NVML says; the other GPU's job is metered."""
    gpus = gpus_of(host, [0, 1])
    gpus.more[0].flags = NO_ENERGY | NO_POWER
    start(host, library, gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    gpus.count(9, 9)
    host.tick()
    got = host.collect()

    share = gpu_share(host, 1)
    assert (share["energy_uj"], share["method"], share["reason"]) == (None, "missing", "GPU-0: nvml: not supported")
    assert got.energy("gpu", 2) == 9 * JOULE


def test_a_library_that_is_none(host: Host) -> None:
    """No such file: the GPUs are unknown with the loader's words, everything else is metered."""
    host.start(nvml_library="/nowhere/libnvidia-ml.so.1")
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.node.count(JOULE)
    got = host.collect()

    assert got.energy("gpu", 1) is None
    assert got.energy("cpu") == 2 * JOULE
    assert "no such file" in str(gpu_share(host, 1)["reason"])


def test_all_that_were_lost_are_looked_for_again(tmp_path: Path, library: Path) -> None:
    """A node whose GPUs are all dead at the start: NVML is let go of, or it would show the same for ever."""
    gpus = Gpus(tmp_path / "state", [0])
    gpus.lose(0)
    script = """
import pynvml
try:
    pynvml.nvmlDeviceGetCount()
except pynvml.NVMLError as err:
    print(json.dumps([meter is None, str(err)]))
"""

    assert ask(script, library, gpus, tmp_path) == [True, "Uninitialized"]
