# SPDX-License-Identifier: MIT
"""Where nothing can be read: the model of CPUs and memory, the tables it rests on, and a node that has nothing else."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carbon_collector import host as node_host
from carbon_collector.meters import model, smbios, tdp
from carbon_collector.meters.base import Place
from carbon_collector.topology import Topology

from .node import FileNode
from .process import Host

JOULE = 1_000_000
HOUR_US = 3_600_000_000
XEON = "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"
TABLES = Path(model.__file__).parent


def rows(table: str, columns: int) -> list[list[str]]:
    """A table as it lies there."""
    lines = (TABLES / table).read_text().splitlines()[1:]
    return [line.split(",", columns - 1) for line in lines]


# -- the equation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("use", "watts"), [(0.0, 60.0), (0.5, 130.0), (1.0, 200.0)])
def test_power_is_a_line_from_idle_to_the_tdp(use: float, watts: float) -> None:
    """P(u) = P_idle + (TDP - P_idle) u, with 30 % of the TDP at rest: a socket of 64 CPUs and 200 W for an hour."""
    busy_us = int(use * 64 * HOUR_US)

    assert model.energy_uj(HOUR_US, busy_us, 64, 200_000) == watts * HOUR_US


@given(
    st.integers(0, 10**15), st.integers(0, 10**13), st.integers(0, 10**15), st.integers(0, 10**13),
    st.integers(1, 1024), st.integers(1, 600_000),
)  # fmt: skip
def test_energy_never_falls(uptime: int, later: int, busy: int, used: int, cpus: int, full_mw: int) -> None:
    """Uptime and CPU time only grow; in between the energy is that of the idle power at least, of the TDP at most."""
    used = min(used, later * cpus)
    grown = model.energy_uj(uptime + later, busy + used, cpus, full_mw) - model.energy_uj(uptime, busy, cpus, full_mw)

    assert int(full_mw * 0.3) * later // 1000 <= grown + 1
    assert grown <= full_mw * later // 1000 + 1


# -- what a node is taken for -----------------------------------------------------------------------------------------


def node_of(tmp_path: Path, cpuinfo: str, cpus_per_socket: int = 4) -> tuple[Place, Topology]:
    """A node of two sockets whose kernel says so of its first CPU."""
    node = FileNode(tmp_path / "node", cpus_per_socket=cpus_per_socket, zones=False)
    (node.proc / "cpuinfo").write_text(f"{cpuinfo}\n\nprocessor\t: 1\n")
    return Place(str(node.sys), str(node.proc), "", ""), node_host.topology(str(node.sys), str(node.proc))


@pytest.mark.parametrize(
    ("cpuinfo", "cpus", "milliwatts", "why"),
    [
        (f"model name\t: {XEON}", 40, 150_000, "xeon gold 6248: TDP 150 W (ark.intel.com)"),
        # without hyper-threading it is the same socket
        (f"model name\t: {XEON}", 20, 150_000, "xeon gold 6248: TDP 150 W (ark.intel.com)"),
        # fewer CPUs than cores, or a hypervisor: a part of a socket
        (f"model name\t: {XEON}", 4, 15_000, "4 of 40 threads of it"),
        (f"model name\t: {XEON}\nflags\t: fpu hypervisor", 20, 75_000, "20 of 40 threads of it"),
        (f"model name\t: {XEON}\nflags\t: fpu hypervisor", 48, 150_000, "TDP 150 W"),
        ("model name\t: Frobnicator 9", 8, 64_000, "Frobnicator 9 is not in the table; 8 W for each of 8 cores"),
        ("model name\t: x\nsiblings\t: 8\ncpu cores\t: 4", 8, 32_000, "8 W for each of 4 cores"),
        ("", 8, 64_000, "a CPU without a name is not in the table"),
    ],
)
def test_a_socket_is_as_strong_as_its_model(cpuinfo: str, cpus: int, milliwatts: int, why: str, tmp_path: Path) -> None:
    """TDP by name; a virtual machine has the part that its CPUs are; for what is not known, a figure per core."""
    place, topology = node_of(tmp_path, cpuinfo, cpus)
    guesses = model.guess_all(place, topology)

    assert {guess.full_mw for guess in guesses.sockets.values()} == {milliwatts}
    assert why in guesses.sockets[1].why


def structure(kind: int, body: dict[int, bytes], length: int, *strings: str) -> bytes:
    """One of the SMBIOS table: a formatted area, then its strings."""
    area = bytearray(length)
    area[0:2] = bytes([kind, length])
    for at, value in body.items():
        area[at : at + len(value)] = value
    return bytes(area) + (b"".join(s.encode() + b"\0" for s in strings) or b"\0") + b"\0"


def firmware(place: Place, modules: int, processor: str) -> None:
    """The table of a server with two processors and 24 slots for memory."""
    slots = [(64 << 10 if i < modules else 0).to_bytes(4, "little") for i in range(24)]
    table = structure(32, {}, 11) + structure(0, {}, 24, "Vendor", "1.0")
    table += structure(4, {0x10: b"\2"}, 48, "CPU 0", processor) * 2
    table += b"".join(structure(17, {0x0C: b"\xff\x7f" if any(s) else b"\0\0"}, 92, "DIMM A1") for s in slots)
    path = Path(place.sysfs) / smbios.TABLE
    path.parent.mkdir(parents=True)
    path.write_bytes(table + structure(127, {}, 4))


def test_memory_is_counted_in_modules_where_root_can_count_them(tmp_path: Path) -> None:
    """5 W a module; where they cannot be counted, and in virtual machines, by GiB: 64 of them are 23.84 W."""
    place, topology = node_of(tmp_path, f"model name\t: {XEON}")
    by_size = model.guess_all(place, topology).memory
    firmware(place, 16, "Xeon")
    by_modules = model.guess_all(place, topology).memory
    (Path(place.procfs) / "cpuinfo").write_text("flags\t: hypervisor\n")
    virtual = model.guess_all(place, topology).memory

    assert by_size == virtual == model.Guess(23_840, "64 GiB of 0.3725 W")
    assert by_modules == model.Guess(80_000, "16 modules of 5 W")


def test_an_arm_cpu_is_named_by_the_firmware(tmp_path: Path) -> None:
    """The kernel shows numbers there only; Grace is known by its chip's id, and its TDP has the memory in it."""
    place, topology = node_of(tmp_path, "CPU implementer\t: 0x41\nCPU part\t: 0xd0c", 80)
    firmware(place, 8, "Ampere(R) Altra(R) Processor Q80-30")
    altra = model.guess_all(place, topology)
    soc = Path(place.sysfs) / "devices/soc0/soc_id"
    soc.parent.mkdir()
    soc.write_text("jep106:036b:0241\n")
    (Path(place.sysfs) / smbios.TABLE).unlink()
    grace = model.guess_all(place, topology)

    assert altra.sockets[0].full_mw == 210_000
    assert altra.memory.full_mw == 40_000
    assert grace.sockets[0].full_mw == 250_000
    assert grace.memory == model.Guess(0, "inside the TDP of jep106:036b:0241")


@given(st.binary(max_size=200))
def test_no_firmware_harms(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """A table that is torn or foreign says less, or nothing."""
    root = tmp_path_factory.mktemp("sys")
    (root / "firmware/dmi/tables").mkdir(parents=True)
    (root / smbios.TABLE).write_bytes(data)

    assert smbios.dimms(str(root)) >= 0
    assert all(isinstance(name, str) for name in smbios.processors(str(root)))
    shutil.rmtree(root)


# -- the tables -------------------------------------------------------------------------------------------------------


def test_the_table_of_cpus_is_sane() -> None:
    """Each once, named as it is looked up, 5 to 600 W, threads that its cores can have, and where it is from."""
    table = rows("tdp_cpu.csv", 5)
    per_core = [int(watts) / int(cores) for _, watts, cores, _, _ in table]

    assert len(table) >= 900
    assert len({row[0] for row in table}) == len(table)
    for name, watts, cores, threads, source in table:
        assert tdp.plain(name) == name
        assert 5 <= int(watts) <= 600
        assert threads in ("", cores, str((4 if "phi" in name else 2) * int(cores)))
        assert 2 <= int(cores) <= 288
        assert source
    assert statistics.median(per_core) == pytest.approx(model.CORE_WATTS, rel=0.1)


def test_the_table_of_accelerators_is_sane() -> None:
    """Each is found by every name that it has, draws what a device can, and says where its figure is from."""
    table = tdp.accelerators()

    assert len(table) == len({row.name for row in table}) == 131
    for row in table:
        assert {tdp.accelerator(name, table) for name in (row.name, row.full_name, *row.aliases)} == {row}
        assert row.source
        assert row.document == "not published" if row.watts is None else 30 <= row.watts <= 1400
        assert row.watts is None or row.verified != (row.document == "no document seen")


def test_a_board_of_several_devices_gives_each_its_part() -> None:
    """Slurm and NVML count devices: what a board's data sheet says is divided among them."""
    boards = {row.name: row.devices for row in tdp.accelerators() if row.devices > 1}

    assert boards == {
        "k80": 2,
        "m60": 2,
        "m10": 4,
        "a16": 4,
        "data center gpu flex 140": 2,
        "instinct mi250": 2,
        "instinct mi250x": 2,
    }
    assert [tdp.gpu_tdp(name) for name in ("k80", "m60", "a16", "mi250x", "m10")] == [149, 150, 62.5, 280, 53]


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        (XEON, 150),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", 120),
        ("INTEL(R) XEON(R) PLATINUM 8592+", 350),
        ("Intel(R) Xeon(R) CPU Max 9480", 350),
        ("Intel(R) Xeon(R) 6980P", 500),
        ("AMD EPYC 7763 64-Core Processor", 280),
        ("AMD EPYC 9654 96-Core Processor", 360),
        ("Ampere(R) Altra(R) Max Processor M128-30", 250),
        ("Intel Xeon Processor (Skylake, IBRS)", None),
        ("AMD EPYC-Rome Processor", None),
        ("", None),
    ],
)
def test_a_cpu_is_found_by_what_the_kernel_calls_it(name: str, watts: int | None) -> None:
    """Marks, clock and core count aside; a name that a hypervisor made up is not known."""
    found = tdp.cpu([name])

    assert (found.watts if found else None) == watts


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("NVIDIA A100-SXM4-40GB", 400),
        ("NVIDIA A100 80GB PCIe", 300),
        ("NVIDIA H200", 700),
        ("NVIDIA H200 NVL", 600),
        ("NVIDIA GH200 480GB", 700),
        ("NVIDIA L40S", 350),
        ("Tesla V100-SXM2-32GB", 300),
        ("AMD Instinct MI250X", 280),
        ("NVIDIA GeForce RTX 3090 Ti", 450),
        ("NVIDIA GeForce RTX 3080 Laptop GPU", None),
        ("NVIDIA TPU v5p", None),
        ("tpu v5p", None),
        ("x", None),
        ("", None),
        # types of GRES, as sites and Slurm's AutoDetect write them
        *[(name, 400) for name in ("a100", "a100_80gb", "a100-sxm4-40gb", "nvidia_a100-sxm4-80gb", "a100_40gb")],
        *[(name, 700) for name in ("h100", "nvidia_h100_80gb_hbm3", "h200", "gh200", "gh200_480gb")],
        *[(name, 300) for name in ("v100", "tesla_v100-sxm2-32gb", "a40", "rtx_a6000", "a6000", "mi100", "mi210")],
        *[(name, 250) for name in ("v100-pcie", "p100", "rtx_2080_ti", "gtx1080ti", "titan_v", "titan_xp", "v100s")],
        *[("k80", 149), ("a16", 62.5), ("t4", 70), ("l4", 72), ("a30", 165), ("rtx_3090", 350), ("rtx4090", 450)],
        # parts of a GPU
        *[("a100_1g.5gb", 400 / 7), ("nvidia_a100_3g.39gb", 1200 / 7), ("nvidia_h100_80gb_hbm3_1g.10gb", 100)],
        ("1g.5gb", None),
    ],
)
def test_a_gpu_is_found_by_what_its_driver_or_slurm_calls_it(name: str, watts: float | None) -> None:
    """The memory that a name ends in says nothing; a device that is only similar is another one."""
    assert tdp.gpu_tdp(name) == (watts if watts is None else pytest.approx(watts))


# -- a node that has nothing else -------------------------------------------------------------------------------------


@pytest.fixture
def node(tmp_path: Path) -> FileNode:
    """A node without a single counter; its CPU is not in the table: 8 W for each of 4 cores of a socket."""
    return FileNode(tmp_path / "node", zones=False)


def of_model(host: Host, prefix: str = "model-cpu") -> int:
    """What the model has counted, in microjoules."""
    return sum(uj for name, uj in host.last()["readings"].items() if name.startswith(prefix))


def test_what_is_estimated_says_so_and_is_conserved(host: Host) -> None:
    """A job that uses CPU gets what the model says of it; every figure of it is marked as modelled."""
    host.start(meters="powercap, nvml, model")
    before = of_model(host)
    host.ticket("prolog", 1)
    host.node.start_job("1")
    for _ in range(5):
        host.node.burn("1", 0, 0.2)
        time.sleep(0.1)
        host.tick()
    got = host.collect()

    assert got.is_conserved()
    assert got.energy("cpu") == of_model(host) - before
    # 1 s of CPU time is 5.6 J, (32 - 9.6) W / 4 CPUs; how much of it is idle power is only just being learned
    assert (got.energy("cpu", 1) or 0) > 0.5 * 5.6 * JOULE
    for row in got.of("job_slot", 1):
        for name in ("cpu", "dram"):
            assert row["components"][name]["method"] == "modelled"
            assert row["components"][name]["metered_us"] == row["alloc_us"]
    for row in got.of("node_slot"):
        dram = row["components"]["dram"]
        assert dram["energy_uj"] == pytest.approx(23.84 * dram["metered_us"], rel=0.1)


def test_a_collector_that_is_killed_loses_and_doubles_nothing(host: Host) -> None:
    """The kernel's own counters went on counting; the estimate over all is that of one collector."""
    host.start(meters="model")
    first = host.last()
    host.ticket("prolog", 1)
    host.tick()
    before = of_model(host)
    host.kill()
    host.node.burn_system(1, 2.0)
    host.start()
    host.tick()
    got = host.collect()

    assert of_model(host) - before > 2 * 5.6 * JOULE
    assert got.energy("cpu") == of_model(host) - sum(
        uj for name, uj in first["readings"].items() if name.startswith("model-cpu")
    )
    assert got.is_conserved()


def test_a_counter_that_can_be_read_takes_over(host: Host) -> None:
    """RAPL that root may read again: what it counts from then on, and nothing twice."""
    for package in (0, 1):
        host.node.add_zone(f"intel-rapl:{package}", f"package-{package}", 262_143_328_850)
        host.node.block(f"intel-rapl:{package}")
    host.start(meters="powercap, nvml, model")
    host.ticket("prolog", 1)
    host.tick()
    modelled = host.last()["readings"]
    host.kill()
    for package in (0, 1):
        (host.node.zone(f"intel-rapl:{package}") / "energy_uj").rmdir()
        host.node.set_energy(f"intel-rapl:{package}", 1000)
    host.start()
    counted = host.last()["readings"]
    host.node.count(7 * JOULE)
    host.tick()
    got = host.collect()

    assert set(modelled) == {"model-cpu-0", "model-cpu-1", "model-dram"}
    assert set(counted) == {"package-0", "package-1", "model-dram"}
    assert got.is_conserved()
    assert 14 * JOULE <= (got.energy("cpu") or 0) < 14 * JOULE + 20 * JOULE
    [row] = got.of("node_slot")
    assert row["components"]["cpu"]["metered_us"] < row["elapsed_us"]
