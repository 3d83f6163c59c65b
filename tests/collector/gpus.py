# SPDX-License-Identifier: MIT
"""GPUs of a node: what the stand-in libnvidia-ml.so.1 shows, moved by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.nvml_state import LOST_MW, State

if TYPE_CHECKING:
    from .process import Host

SOURCE = Path(__file__).parents[1] / "simulator/nvml/nvml.c"
POWER_MW = 70_000
HERE = Path(__file__).parents[2] / "collector"


class Gpus(State):
    """Devices `GPU-0`, `GPU-1`, ... in NVML's order, with these minor numbers."""

    def __init__(self, path: Path, minors: list[int], name: str = "Simulated") -> None:
        super().__init__(path, len(minors))
        self.path = path
        for i, (device, minor) in enumerate(zip(self.devices, minors, strict=True)):
            device.uuid, device.name, device.bus_id = b"GPU-%d" % i, name.encode(), b"00000000:%02X:00.0" % (0x1A + i)
            device.minor, device.power_mw, device.energy_mj = minor, POWER_MW, 1000

    def lose(self, position: int, lost: bool = True) -> None:
        """It falls off the bus, or is back."""
        self.devices[position].power_mw = LOST_MW if lost else POWER_MW

    def count(self, *joules: int) -> None:
        """Each device counts so much."""
        for device, j in zip(self.devices, joules, strict=True):
            device.energy_mj += j * 1000

    def load_driver(self, in_order: tuple[int, ...] = ()) -> None:
        """The driver is loaded anew, maybe with NVML in another order: who had NVML open has lost it, and counters
        begin at nothing.
        """
        self.driver.generation += 1
        before = [type(device).from_buffer_copy(device) for device in self.devices]
        for i, place in enumerate(in_order):
            self.devices[i] = before[place]
        for device in self.devices:
            device.energy_mj = 0

    def work(self, position: int, cycles: int, **percent: int) -> None:
        """So many cycles go by; each MIG device named (by place, `_0`) is busy for so many percent of them."""
        more = self.more[position]
        more.cycles += cycles
        for place, busy in percent.items():
            more.instances[int(place[1:])].sm_cycles += cycles * busy // 100

    def use(self, position: int, utils: dict[int, int]) -> None:
        """Processes have used so many percent of a device until now."""
        self.used(position, time.time_ns() // 1000, utils)


def start(host: Host, library: Path, gpus: Gpus, **settings: str) -> None:
    """The collector on a node with these devices."""
    host.start(env={"NVML_SIMULATED_STATE": str(gpus.path)}, nvml_library=str(library), **settings)


def ask(script: str, library: Path, gpus: Gpus, root: Path) -> Any:
    """What a script says of the meter, which runs with `meter` and `nvml` in a process of its own."""
    head = (
        "import json, sys; from carbon_collector.meters import nvml; from carbon_collector.meters.base import Place; "
        f"meter = nvml.find(Place({str(root / 'sys')!r}, {str(root / 'proc')!r}, {str(library)!r}, '')).meter\n"
    )
    env = {"NVML_SIMULATED_STATE": str(gpus.path), "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, "-c", head + script], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
