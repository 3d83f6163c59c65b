# SPDX-License-Identifier: MIT
"""The thresholds below which what a job holds counts as not used: `[waste]` of the configuration. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from carbon_collector.errors import SettingsError


@dataclass(frozen=True)
class IdleUse:
    """The thresholds of a job: the power of a GPU up to which it is idle, in watts, and the used share of the CPU time
    held, in percent, below which the rest counts as unused.
    """

    gpu_watts: float
    cpu_percent: float


@dataclass(frozen=True)
class IdleRules:
    """The thresholds of the site. `gpu_types`: watts by the type of GPU that AllocTRES names. `advice_percent`: the
    share of a user's energy below which a saving is no advice.
    """

    gpu_watts: float = 75.0
    cpu_percent: float = 20.0
    gpu_types: Mapping[str, float] = field(default_factory=dict)
    advice_percent: float = 1.0

    def of(self, alloc_tres: str | None) -> IdleUse:
        """Return the thresholds of a job. Where its GPUs are of several types, the lowest watts hold."""
        types = re.findall(r"gres/gpu:([^=,]+)=", alloc_tres or "") if self.gpu_types else []
        watts = min((self.gpu_types.get(name, self.gpu_watts) for name in types), default=self.gpu_watts)
        return IdleUse(watts, self.cpu_percent)


def idle_rules(gpu_watts: Iterable[str], cpu_percent: float, advice_percent: float) -> IdleRules:
    """Return the rules of `[waste] gpu_idle_watts` (`75 t4:15`), `cpu_used_percent` and `advice_percent`.

    Raises SettingsError.
    """
    default, types = IdleRules.gpu_watts, {}
    for word in gpu_watts:
        name, _, number = word.rpartition(":")
        try:
            watts = float(number)
        except ValueError:
            watts = -1.0
        if not 0 <= watts < 10_000:
            raise SettingsError(f"[waste] gpu_idle_watts: {word!r} is neither watts nor type:watts, as in: 75 t4:15")
        if name:
            types[name] = watts
        else:
            default = watts
    for key, percent in (("cpu_used_percent", cpu_percent), ("advice_percent", advice_percent)):
        if not 0 <= percent <= 100:
            raise SettingsError(f"[waste] {key} = {percent:g}: a number between 0 and 100")
    return IdleRules(default, cpu_percent, types, advice_percent)
