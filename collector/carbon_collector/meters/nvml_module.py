# SPDX-License-Identifier: MIT
"""Superchips: where NVML counts the energy of the whole module, the Grace CPU in it is counted by its own meter too.

On GH200 the counter is the module's, CPU and its memory included (Zeus, pull request 172; measured within 2 % of the
module's power). On GB200 and later two GPUs share a module; nobody has published what their counter covers. So the
counter is asked: what it counts in a second is compared with NVML's powers of the GPU and of the module.
"""

from __future__ import annotations

import time

from ..host import read_text, topology
from ..lean.typing import TYPE_CHECKING
from .base import COUNTER
from .nvml_device import ask, text

if TYPE_CHECKING:
    from typing import Any

    from .base import Place
    from .nvml_device import Device

MAX_WATTS = 6_000
"""More than any module draws (GB300's, two GPUs and a CPU: 2,900 W)."""
WINDOW_S = 1.0
"""NVML's average power is that of the last second."""


def take_off_cpus(nvml: Any, devices: list[Device], place: Place) -> None:
    """Let each domain that is a module's contain its CPU, which is named after its socket.

    Where the socket is not known, or two GPUs count the same module, its energy cannot be told apart: the GPU's own
    power is integrated instead. So nothing is counted twice.
    """
    modules = _modules(nvml, devices)
    sockets = [_socket(nvml, device, place.sysfs) for device in modules]
    for device, socket in zip(modules, sockets):
        if socket is not None and sockets.count(socket) == 1:
            device.domain = device.domain._replace(max_watts=MAX_WATTS, contains=_cpu(socket, place))
        else:
            device.integrate()


def _modules(nvml: Any, devices: list[Device]) -> list[Device]:
    """Return the devices whose counter is that of their module."""
    counting = [device for device in devices if device.domain.method == COUNTER]
    known = [device for device in counting if "GH200" in text(ask(nvml, "nvmlDeviceGetName", device.handle) or "")]
    asked = [device for device in counting if device not in known and _power_mw(nvml, device, "MODULE")]
    return known + _measured(nvml, asked) if asked else known


def _measured(nvml: Any, devices: list[Device]) -> list[Device]:
    """Return the devices whose counter grows by the module's power rather than by the GPU's."""
    start_ns = time.monotonic_ns()
    before = [device.read().energy_uj for device in devices]
    time.sleep(WINDOW_S)
    elapsed_ns = time.monotonic_ns() - start_ns
    return [device for device, uj in zip(devices, before) if _is_module(nvml, device, uj, elapsed_ns)]


def _is_module(nvml: Any, device: Device, before_uj: int | None, elapsed_ns: int) -> bool:
    after_uj = device.read().energy_uj
    gpu_mw, module_mw = _power_mw(nvml, device, "GPU"), _power_mw(nvml, device, "MODULE")
    if before_uj is None or after_uj is None or not module_mw:
        return False
    counted_mw = (after_uj - before_uj) * 1_000_000 // elapsed_ns
    return not gpu_mw or abs(counted_mw - module_mw) < abs(counted_mw - gpu_mw)


def _power_mw(nvml: Any, device: Device, scope: str) -> int:
    """Return the average power in milliwatts of the GPU or of its module, or 0 if NVML has no such figure."""
    try:
        field = (nvml.NVML_FI_DEV_POWER_AVERAGE, getattr(nvml, f"NVML_POWER_SCOPE_{scope}"))
    except AttributeError:
        return 0  # a binding from before modules
    values = ask(nvml, "nvmlDeviceGetFieldValues", device.handle, [field])
    return int(values[0].value.uiVal) if values and values[0].nvmlReturn == nvml.NVML_SUCCESS else 0


def _cpu(socket: int, place: Place) -> tuple[str, ...]:
    """Return the names that a Grace socket and its memory may have, whichever meter has them.

    Sensors count sockets from 0, physical_package_id is any number on arm64. Where the CPU is only modelled, GPU and
    CPU still add up to what the module counted.
    """
    ids = sorted(set(topology(place.sysfs, place.procfs).socket_of.values()))
    return f"grace-{socket}", f"grace-dram-{socket}", f"model-cpu-{ids[socket] if socket < len(ids) else socket}"


def _socket(nvml: Any, device: Device, sysfs: str) -> int | None:
    """Return the socket of the CPU on the same module: the NUMA node at which the kernel sees the GPU."""
    pci = ask(nvml, "nvmlDeviceGetPciInfo", device.handle)
    node = read_text(f"{sysfs}/bus/pci/devices/{text(pci.busIdLegacy).lower()}/numa_node") if pci else ""
    return int(node) if node.isdigit() else None
