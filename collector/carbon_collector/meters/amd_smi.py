# SPDX-License-Identifier: MIT
"""AMD's library amdsmi; the only module that imports it.

Importing it prints, and raises KeyError, AttributeError or OSError where its own library is not there or of another
release. ROCm keeps the package in share/amd_smi, where no interpreter looks.
"""

from __future__ import annotations

import sys

from ..lean.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

ROCM = "/opt/rocm"


class AmdSmi:
    """The started library. Raises whatever it raises."""

    def __init__(self, rocm: str = ROCM) -> None:
        self._smi = _quietly(rocm)
        self._smi.amdsmi_init()
        handles = self._smi.amdsmi_get_processor_handles()
        self._handles = {str(self._smi.amdsmi_get_gpu_device_bdf(handle)).lower(): handle for handle in handles}

    def units(self, address: str) -> int:
        """Return the accumulator of the GPU at a PCI address, in 2^-16 J.

        Its own `counter_resolution` says 15.3 uJ, which is 0.27 % too much.
        """
        count = self._smi.amdsmi_get_energy_count(self._handles[address])
        return int(count["energy_accumulator"] if "energy_accumulator" in count else count["power"])  # before ROCm 6.4


def _quietly(rocm: str) -> Any:
    """Return the module `amdsmi`, imported without showing what it prints."""
    import io

    path, out = list(sys.path), sys.stdout
    sys.path.append(f"{rocm}/share/amd_smi")
    sys.stdout = io.StringIO()
    try:
        return __import__("amdsmi")
    finally:
        sys.stdout = out
        sys.path[:] = path
