# SPDX-License-Identifier: MIT
"""Computes a job's energy from its hardware: devices x watts x hours, CPUs and memory beside them. Exact, in fractions.

    E = (N_gpu x W_gpu + CPUs x TDP / threads + GiB x 0.3725 W) x hours x utilization

At full use it is an upper bound. The lower bound is what is drawn without any use (`IDLE_SHARE`). What was not asked
for by number is not in it, and `left_out` names it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from fractions import Fraction

from carbon_collector.errors import UsageError
from carbon_collector.lean.typing import TYPE_CHECKING, NamedTuple
from carbon_collector.meters import tdp
from carbon_collector.meters.base import IDLE_SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .asked import Asked

CPU_WATTS = Fraction(4)
"""The watts of a CPU whose model was not named: half of a core's 8 W (carbon_collector.meters.model)."""
LABELS = {"npu": "NPU", "tpu": "TPU"}


class Part(NamedTuple):
    """The energy of one component in kWh: as expected, without use, and at full use. `text` shows the calculation."""

    label: str
    text: str
    kwh: Fraction
    idle_kwh: Fraction
    full_kwh: Fraction


@dataclass(frozen=True)
class Choice:
    """What the command line says about the hardware. None: nothing. `table`: accelerators, the site's own first."""

    table: Sequence[tdp.Accelerator]
    watts: Fraction | None = None
    cpu_type: str = ""
    utilization: Fraction | None = None


@dataclass(frozen=True)
class Energy:
    """The energy of a job by its hardware. `notes` are for people, `left_out` names what was not given."""

    parts: tuple[Part, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kwh: Fraction = field(init=False)
    idle_kwh: Fraction = field(init=False)
    full_kwh: Fraction = field(init=False)

    def __post_init__(self) -> None:
        """Add up the parts."""
        for name in ("kwh", "idle_kwh", "full_kwh"):
            object.__setattr__(self, name, sum((getattr(part, name) for part in self.parts), Fraction(0)))


def energy(components: Sequence[Asked], hours: Sequence[Fraction], choice: Choice) -> Energy:
    """Return the energy of a job's components, each over its own hours. Raises UsageError if something is not known."""
    parts: list[Part] = []
    notes: list[str] = []
    given: set[str] = set()
    for asked, time in zip(components, hours):
        for kind, number in asked.gpus.items():
            accelerator = _device(kind, choice, notes)
            parts.append(_gpu(accelerator, number, asked.tasks, time, choice))
            given |= {"CPUs", "memory"} if accelerator.kind == "gpu+cpu" else set()
        if asked.cpus and "CPUs" not in given:
            parts.append(_cpu(asked, time, choice, notes))
        if asked.memory_mib and "memory" not in given:
            parts.append(_memory(asked, time))
        notes += [note for note in asked.notes if note not in notes]
    if not parts:
        raise UsageError("nothing to estimate: say what the job holds, e.g. -G a100:4 or -c 16")
    given |= {{"CPU": "CPUs", "Memory": "memory"}.get(part.label, "") for part in parts}
    left_out = tuple(name for name in ("CPUs", "memory") if name not in given)
    return Energy(tuple(parts), left_out, tuple(notes))


def device(name: str, table: Sequence[tdp.Accelerator]) -> tdp.Accelerator:
    """Return the accelerator of a name. Raises UsageError that names the nearest one."""
    accelerator = tdp.accelerator(name, list(table))
    if accelerator is None:
        known = {text: one.name for one in table for text in (one.name, *one.aliases)}
        close = dict.fromkeys(known[text] for text in difflib.get_close_matches(name.lower(), known, 6, 0.6))
        hint = f"did you mean {' or '.join(list(close)[:3])}? " if close else ""
        raise UsageError(f"-G {name}: no such accelerator; {hint}--hardware lists them, --watts W does without")
    return accelerator


def _device(kind: str, choice: Choice, notes: list[str]) -> tdp.Accelerator:
    if choice.watts is not None:
        return tdp.Accelerator(kind, kind, float(choice.watts), "given")
    if not kind:
        raise UsageError("which GPU is it? Say -G TYPE:N, e.g. -G a100:4, or --watts W")
    accelerator = device(kind, choice.table)
    if accelerator.watts is None:
        raise UsageError(f"-G {kind}: the watts of {accelerator.full_name} are not published; give --watts W")
    if tdp.key(kind) != tdp.key(accelerator.name):
        notes.append(f"{kind} is taken for {accelerator.full_name}; --watts W or [site] accelerators says otherwise")
    if accelerator.note and (accelerator.kind != "gpu" or accelerator.devices > 1 or "Grace" in accelerator.note):
        notes.append(f"{accelerator.name}: {accelerator.note}")
    return accelerator


def _gpu(accelerator: tdp.Accelerator, number: int, tasks: int, hours: Fraction, choice: Choice) -> Part:
    watts = choice.watts if choice.watts is not None else Fraction(str(accelerator.watts))
    times = f"{tasks} tasks x " if tasks > 1 else ""
    text = f"{times}{number} x {shown(watts)} W ({accelerator.document})"
    return _part(LABELS.get(accelerator.kind, "GPU"), text, tasks * number * watts, hours, "gpu", choice.utilization)


def _cpu(asked: Asked, hours: Fraction, choice: Choice, notes: list[str]) -> Part:
    number = asked.cpus or 0
    times = f"{asked.tasks} tasks x " if asked.tasks > 1 else ""
    if not choice.cpu_type:
        notes.append("the CPUs' model was not given: 4 W a CPU; --cpu-type names it")
        watts, text = CPU_WATTS, f"{times}{number} x 4 W (model not given)"
    else:
        cpu_model = tdp.cpu([choice.cpu_type])
        if cpu_model is None:
            raise UsageError(f"--cpu-type {choice.cpu_type}: not in the table; write it as lscpu does")
        each = cpu_model.cores if asked.whole_cores else cpu_model.threads
        unit = "cores" if asked.whole_cores else "threads"
        watts = Fraction(cpu_model.watts, each)
        text = f"{times}{number} of {each} {unit} x {cpu_model.watts} W ({cpu_model.name})"
    return _part("CPU", text, asked.tasks * number * watts, hours, "cpu", choice.utilization)


def _memory(asked: Asked, hours: Fraction) -> Part:
    gib = Fraction(asked.memory_mib or 0) / 1024
    times = f"{asked.tasks} tasks x " if asked.tasks > 1 else ""
    watts = asked.tasks * gib * Fraction(str(tdp.GIB_MW)) / 1000
    return _part("Memory", f"{times}{shown(gib)} GiB x {tdp.GIB_MW / 1000:g} W", watts, hours, "dram", None)


def _part(
    label: str, text: str, watts: Fraction, hours: Fraction, component: str, utilization: Fraction | None
) -> Part:
    full = watts * hours / 1000
    used = full if utilization is None else full * utilization
    share = "" if utilization is None else f" x {shown(utilization)}"
    idle = min(used, full * Fraction(str(IDLE_SHARE[component])))
    return Part(label, f"{text} x {shown(hours)} h{share}", used, idle, full)


def shown(value: Fraction) -> str:
    """Return a number in its shortest form, to six digits if it is no integer: `400`, `62.5`, `57.1429`."""
    return f"{float(value):.10g}" if value.denominator == 1 else f"{float(value):.6g}"
