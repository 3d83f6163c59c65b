# SPDX-License-Identifier: MIT
"""AMD's GPUs as sysfs shows them: whose counter is believed, what comes in its place, who pays for half a card."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector.meters import amd
from carbon_collector.meters.base import COUNTER, INTEGRATED, Domain
from carbon_collector.meters.gpu_metrics import microjoules, parse

from .node import FileNode
from .process import Host, stopping
from .sensors import ALL_ONES, MI100, MI250X, MI300A, AmdGpu, drawing, drawn_over, metrics, place, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carbon_collector.meters.base import Meter

    from .process import Aggregator

JOULE = 1_000_000


@pytest.fixture
def node(tmp_path: Path) -> FileNode:
    """A node without RAPL."""
    return FileNode(tmp_path / "node", zones=False)


@pytest.fixture
def start(tmp_path: Path, node: FileNode, aggregator: Aggregator) -> Iterator[Callable[..., Host]]:
    """The collector on that node, while its GPUs draw power."""
    with stopping(Host(tmp_path, node, aggregator)) as host:

        def start(*gpus: AmdGpu, meters: str = "amd") -> Host:
            with drawing(*gpus):
                host.start(meters=meters)
            host.tick()
            return host

        yield start


def look(node: FileNode, *gpus: AmdGpu) -> Meter:
    """The meter that is found while the GPUs draw power."""
    with drawing(*gpus):
        meter = amd.find(place(node)).meter
    assert meter is not None
    return meter


# -- the binary file --------------------------------------------------------------------------------------------

Header = [
    ("structure_size", ctypes.c_uint16),
    ("format_revision", ctypes.c_uint8),
    ("content_revision", ctypes.c_uint8),
]
U16, U32, U64 = ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
LATER = [("temperature", U16 * 3), ("power", U16), ("activity", U16 * 2)]
FIELDS = {
    0: [("clock", U64), ("temperature", U16 * 6), ("activity", U16 * 3), ("power", U16), ("energy", U32)],
    **{i: [("temperature", U16 * 6), ("activity", U16 * 3), ("power", U16), ("energy", U64)] for i in (1, 2, 3)},
    4: [*LATER, ("vcn_activity", U16 * 4), ("energy", U64)],
    5: [*LATER, ("vcn_activity", U16 * 4), ("jpeg_activity", U16 * 32), ("energy", U64)],
    6: [*LATER, ("energy", U64), ("rest", U64 * 200)],
    7: [*LATER, ("mem_max_bandwidth", U64), ("energy", U64)],
    8: [*LATER, ("mem_max_bandwidth", U64), ("energy", U64)],
}
"""The beginnings of struct gpu_metrics_v1_*, for a C compiler's alignment (kgd_pp_interface.h)."""


def as_c(revision: int, units: int, watts: int, fields: list[tuple[str, type]] | None = None) -> bytes:
    """What the driver writes."""
    layout = type("Layout", (ctypes.Structure,), {"_fields_": [*Header, *(fields or FIELDS[revision])]})
    made = layout.from_buffer_copy(b"\xff" * ctypes.sizeof(layout))
    made.structure_size, made.format_revision, made.content_revision = ctypes.sizeof(layout), 1, revision
    made.energy, made.power = units, watts
    return bytes(made)


@pytest.mark.parametrize("revision", FIELDS)
def test_every_revision_has_its_own_layout(revision: int) -> None:
    """Energy and power are found where a C compiler puts them."""
    units = 123_456_789 << (0 if revision == 0 else 24)

    assert parse(as_c(revision, units, 321)) == (units, 321, revision)


def test_the_early_revision_6_is_told_by_its_length() -> None:
    """Two layouts were published under one number."""
    fields = [*FIELDS[5], ("rest", U64 * 36)]

    assert parse(as_c(6, 99 << 32, 500, fields)) == (99 << 32, 500, 6)


def test_a_list_of_attributes_is_searched() -> None:
    """Revision 9: each attribute says what it is, how wide and how many."""
    u16, u64 = 2, 6

    def attribute(key: int, kind: int, *values: int) -> bytes:
        width = 1 << kind // 2
        encoding = kind << 20 | key << 10 | len(values)
        return encoding.to_bytes(8, "little") + b"".join(v.to_bytes(width, "little") for v in values)

    attributes = [
        attribute(0, u16, 45),
        attribute(3, u16, 750),
        attribute(12, u16, *range(8)),
        attribute(7, u64, 7 << 40),
    ]
    data = b"\x00\x04\x01\x09" + len(attributes).to_bytes(4, "little") + b"".join(attributes)

    assert parse(data) == (7 << 40, 750, 9)


@given(st.integers(0, 1 << 60))
def test_units_are_exactly_a_65536th_of_a_joule(units: int) -> None:
    """15.259 uJ, not amdsmi's 15.3; rounded down, and never twice."""
    assert 0 <= units * 15625 / 1024 - microjoules(units) < 1 or units > 1 << 40
    assert microjoules(units + 65536) == microjoules(units) + JOULE


@given(st.binary(max_size=600), st.integers(0, 12))
def test_no_content_harms(data: bytes, revision: int) -> None:
    """Whatever the file holds: numbers, or a ValueError with the reason."""
    for content in (data, b"\x10\x00\x01" + bytes([revision]) + data):
        with contextlib.suppress(ValueError):
            found = parse(content)
            assert found.units is None or found.units >= 0


# -- a job's life -----------------------------------------------------------------------------------------------


def test_a_card_is_found_by_index_and_render_node(node: FileNode, start: Callable[..., Host]) -> None:
    """Slurm's index is the place on the PCI bus, whatever the card's number; nobody's energy is idle."""
    gpus = [
        AmdGpu(node, 1, "0000:05:00.0", unique="65c1ac4ee0a10a1b"),
        AmdGpu(node, 0, "0000:26:00.0", unique="0b3f5a87a1a1c0de"),
        AmdGpu(node, 2, "0000:46:00.0"),
    ]
    host = start(*gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="128")
    with host.frozen():
        for joules, gpu in zip((30, 20, 10), gpus, strict=True):
            gpu.count(joules)
    host.tick()
    host.ticket("epilog", 2, SLURM_JOB_GPUS="128")
    with host.frozen():
        for gpu in gpus:
            gpu.count(5)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (35 * JOULE, 20 * JOULE)
    assert [x["gpus"] for job in (1, 2) for x in got.of("ledger", job)] == [
        ["GPU-65c1ac4ee0a10a1b"],
        ["GPU-0b3f5a87a1a1c0de"],
    ]
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["method"] == "counter"
    assert got.is_conserved()


def test_half_a_card_is_half_of_its_energy(node: FileNode, start: Callable[..., Host]) -> None:
    """MI250X: one GCD counts for both, the other shows 0. Whoever holds one pays half, whoever holds both pays all."""
    gpus = [
        AmdGpu(node, i, f"0000:{bus}:00.0", MI250X, f"{i}{i:015}") for i, bus in enumerate(("c1", "c6", "c9", "ce"))
    ]
    for other in gpus[1::2]:
        other.units = other.watts = 0
        other.show()
    host = start(*gpus[::2])
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    host.ticket("prolog", 3, SLURM_JOB_GPUS="2,3")
    with host.frozen():
        gpus[0].count(20)
        gpus[2].count(40)  # what draws more than 50 J in no time is not believed
    host.tick()
    got = host.collect()

    assert [(got.energy("gpu", job) or 0) / JOULE for job in (1, 2, 3)] == pytest.approx([10, 10, 40], abs=1e-5)
    assert [x["gpus"] for x in got.of("ledger", 2)] == [["GPU-1000000000000001"]]
    assert got.is_conserved()


def test_a_reset_is_a_gap(node: FileNode, start: Callable[..., Host]) -> None:
    """The driver was loaded anew: no energy is made up, and the other card goes on."""
    gpus = [AmdGpu(node, 0, "0000:05:00.0"), AmdGpu(node, 1, "0000:26:00.0")]
    host = start(*gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    with host.frozen():
        gpus[0].units = 0
        gpus[0].count(3)
        gpus[1].count(7)
    host.tick()
    gpus[0].count(2)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (2 * JOULE, 7 * JOULE)
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["reason"] == "0000:05:00.0: counter was reset"


def test_old_firmwares_counter_wraps_without_loss(node: FileNode, start: Callable[..., Host]) -> None:
    """MI100: 32 bits go round every 65 kJ."""
    gpu = AmdGpu(node, 0, "0000:05:00.0", MI100)
    gpu.watts, gpu.units = 10, (1 << 32) - (60 << 16)
    host = start(gpu)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    before = gpu.units
    for _ in range(2):
        with host.frozen():
            gpu.count(40)
        host.tick()
    got = host.collect()

    assert before < 1 << 32 < gpu.units
    assert got.energy("gpu", 1) == 80 * JOULE
    assert got.is_conserved()


# -- what is not believed ---------------------------------------------------------------------------------------


def test_a_counter_that_stands_still_is_replaced_by_power(node: FileNode, start: Callable[..., Host]) -> None:
    """An MI100 that must be rebooted: its power is integrated and says so; its neighbour counts."""
    gpus = [AmdGpu(node, 0, "0000:05:00.0"), AmdGpu(node, 1, "0000:26:00.0")]
    gpus[0].moves = False
    host = start(*gpus)
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    time.sleep(0.5)
    gpus[1].count(5)
    host.tick()
    got = host.collect()

    [row] = got.of("job_slot", 1)
    share = row["components"]["gpu"]
    assert share["method"] == "integrated"
    assert share["energy_uj"] / share["metered_us"] == pytest.approx(400, rel=0.02)
    [row] = got.of("job_slot", 2)
    assert (row["components"]["gpu"]["method"], row["components"]["gpu"]["energy_uj"]) == ("counter", 5 * JOULE)
    assert got.is_conserved()


def test_a_counter_that_stops_later_is_given_up(node: FileNode) -> None:
    """It counted when the collector started: after a while of nothing its power is taken, and the domain says so."""
    units, power = [5], [300 * JOULE]
    domain = Domain("GPU-1", "gpu", -1, 0, 2000, COUNTER, False)
    gpu = amd.Gpu(domain, lambda: units[0], lambda: power[0], patience_s=0.1)
    meter = amd.Amd([gpu], {})
    assert meter.read()["GPU-1"].energy_uj == microjoules(5)
    time.sleep(0.15)
    power[0] = 0
    meter.read()
    assert meter.found == ()  # a card that draws nothing has nothing to count
    power[0] = 300 * JOULE
    meter.read()

    [found] = meter.found
    assert (found.name, found.method) == ("GPU-1", INTEGRATED)
    assert meter.sample_s > 0
    drawn = drawn_over(lambda: time.sleep(0.1), lambda: meter.read()["GPU-1"].energy_uj)
    assert drawn.least_s * 300 * 0.98 <= drawn.joules <= drawn.most_s * 300 * 1.02


@pytest.mark.parametrize("oddity", ["all ones", "format 2", "gone", "in millijoules", "never counted"])
def test_a_counter_that_is_none_is_replaced_by_power(oddity: str, node: FileNode) -> None:
    """Chips without an accumulator, containers without the file, other units: power, where there is one."""
    gpu = AmdGpu(node, 0, "0000:05:00.0")
    file = gpu.folder / "gpu_metrics"
    if oddity == "all ones":
        put(file, metrics(5, ALL_ONES, 400))
    elif oddity == "format 2":
        put(file, metrics(1, 1, 400, form=2))
    elif oddity == "gone":
        file.unlink()
    elif oddity == "never counted":
        put(file, metrics(5, 0, 400))
    else:
        gpu.per_joule = 1000
    meter = look(node, *([gpu] if oddity == "in millijoules" else []))

    assert [domain.method for domain in meter.domains] == [INTEGRATED]
    drawn = drawn_over(lambda: time.sleep(0.2), lambda: meter.read()["0000:05:00.0"].energy_uj)
    assert drawn.least_s * 400 * 0.98 <= drawn.joules <= drawn.most_s * 400 * 1.02


def test_neither_energy_nor_power_is_unknown(node: FileNode, start: Callable[..., Host]) -> None:
    """A job on such a card has no GPU energy, and the row says why; the card beside it is metered."""
    gpus = [AmdGpu(node, 0, "0000:05:00.0"), AmdGpu(node, 1, "0000:26:00.0")]
    (gpus[0].folder / "gpu_metrics").unlink()
    shutil.rmtree(gpus[0].sensor)
    host = start(gpus[1])
    host.ticket("prolog", 1, SLURM_JOB_GPUS="0")
    host.ticket("prolog", 2, SLURM_JOB_GPUS="1")
    gpus[1].count(5)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (None, 5 * JOULE)
    [row] = got.of("job_slot", 1)
    assert row["components"]["gpu"]["reason"] == "0000:05:00.0: gpu_metrics: no such file or directory"


def test_a_card_that_falls_off_the_bus_takes_no_other_with_it(node: FileNode, start: Callable[..., Host]) -> None:
    """Its energy is known up to then; the other goes on."""
    gpus = [AmdGpu(node, 0, "0000:05:00.0"), AmdGpu(node, 1, "0000:26:00.0")]
    host = start(*gpus)
    for job in (1, 2):
        host.ticket("prolog", job, SLURM_JOB_GPUS=str(job - 1))
    for gpu in gpus:
        gpu.count(5)
    host.tick()
    shutil.rmtree(gpus[0].folder)
    gpus[1].count(5)
    host.tick()
    got = host.collect()

    assert (got.energy("gpu", 1), got.energy("gpu", 2)) == (5 * JOULE, 10 * JOULE)
    assert got.is_conserved()


def test_a_socket_that_is_cpu_and_gpu_is_counted_once(node: FileNode) -> None:
    """MI300A counts its socket: what is counted, or modelled, of the cores in it is taken off. Other cards are cards."""
    whole = AmdGpu(node, 0, "0000:05:00.0", MI300A)
    put(whole.folder / "numa_node", 2)
    AmdGpu(node, 1, "0000:26:00.0")

    domains = amd.find(place(node)).meter

    assert domains is not None
    assert [domain.contains for domain in domains.domains] == [("package-2", "socket-2", "model-cpu-2"), ()]


def test_what_is_simulated_says_so(node: FileNode) -> None:
    """A file beside the cards is enough."""
    gpu = AmdGpu(node, 0, "0000:05:00.0")
    put(node.sys / "class/drm/simulated", "made up")

    assert [domain.simulated for domain in look(node, gpu).domains] == [True]


def test_a_node_without_such_cards_says_so(node: FileNode) -> None:
    """The driver is loaded, its cards are another maker's."""
    assert amd.find(place(node)) == (None, {"gpu": f"no AMD GPU in {node.sys}/class/drm"})


# -- amdsmi -----------------------------------------------------------------------------------------------------

LIBRARY = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
{stubs}
static uint64_t const address[] = {{0x0500, 0x2600}};
int amdsmi_init(uint64_t flags) {{ return 0; }}
int amdsmi_get_socket_handles(uint32_t *count, void **handles) {{
    if (handles) handles[0] = (void *)1;
    *count = 1;
    return 0;
}}
int amdsmi_get_processor_handles(void *socket, uint32_t *count, void **handles) {{
    for (int i = 0; handles && i < 2; i++) handles[i] = (void *)(uintptr_t)(i + 1);
    *count = 2;
    return 0;
}}
int amdsmi_get_gpu_device_bdf(void *handle, uint64_t *bdf) {{
    *bdf = address[(uintptr_t)handle - 1];
    return 0;
}}
int amdsmi_get_energy_count(void *handle, uint64_t *energy, float *resolution, uint64_t *at) {{
    FILE *file = fopen(getenv("AMDSMI_STATE"), "r");
    unsigned long long value[2] = {{0, 0}};
    if (!file || fscanf(file, "%llu %llu", value, value + 1) != 2) return 2;
    fclose(file);
    *energy = value[(uintptr_t)handle - 1];
    *resolution = 15.3f;
    *at = 1;
    return 0;
}}
"""
REAL = ("init", "get_socket_handles", "get_processor_handles", "get_gpu_device_bdf", "get_energy_count")


@pytest.fixture(scope="session")
def rocm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real Python package as ROCm installs it, beside it a library of two GPUs that is compiled here."""
    spec = importlib.util.find_spec("amdsmi")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if spec is None or spec.origin is None:
        pytest.skip("amdsmi is not installed (pip install amdsmi)")
    if compiler is None:
        pytest.skip("no C compiler (Debian: apt-get install gcc libc6-dev)")
    root = tmp_path_factory.mktemp("rocm")
    package = root / "share/amd_smi/amdsmi"
    shutil.copytree(Path(spec.origin).parent, package)
    wanted = re.findall(r"_libraries\['libamd_smi.so'\]\.(\w+)", (package / "amdsmi_wrapper.py").read_text())
    others = sorted(set(wanted) - {f"amdsmi_{name}" for name in REAL})
    source = root / "amd_smi.c"
    source.write_text(LIBRARY.format(stubs="\n".join(f"int {name}(void) {{ return 2; }}" for name in others)))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", package / "libamd_smi.so", source], check=True)
    return root


ASK = """
import sys
sys.path[:0] = [sys.argv[1]]
from carbon_collector.meters.amd_smi import AmdSmi
try:
    library = AmdSmi(sys.argv[2])
    print([library.units(address) for address in ("0000:05:00.0", "0000:26:00.0")], sys.argv[2] in "".join(sys.path))
except Exception as err:
    print(repr(err))
"""


def ask(rocm: Path, **env: str) -> tuple[str, str]:
    """What a collector without any site packages gets from the library, and what is said meanwhile."""
    args = [sys.executable, "-IS", "-c", ASK, str(Path(amd.__file__).parents[2]), str(rocm)]
    answer = subprocess.run(args, env=env, capture_output=True, text=True, check=True)
    return answer.stdout, answer.stderr


def test_amdsmi_counts_in_the_same_unit(rocm: Path, tmp_path: Path) -> None:
    """Its accumulator as it is, by PCI address; the path to it does not stay."""
    put(tmp_path / "state", "123456789 5")

    assert ask(rocm, AMDSMI_STATE=str(tmp_path / "state")) == ("[123456789, 5] False\n", "")


def test_amdsmi_without_its_library_says_nothing(rocm: Path, tmp_path: Path) -> None:
    """The package prints two lines and raises a KeyError; only the latter is heard of."""
    shutil.copytree(rocm / "share", tmp_path / "share", ignore=shutil.ignore_patterns("*.so"))

    assert ask(tmp_path) == ("KeyError('libamd_smi.so')\n", "")
