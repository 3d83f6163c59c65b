# SPDX-License-Identifier: MIT
"""A node made of files: sysfs, procfs and cgroups as the kernel lays them out, moved by hand.

The collector's own code reads it; only the numbers are made up. Oddities are switched on by name.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from carbon_collector.units import US_PER_S

PACKAGE_RANGE = 262_143_328_850
DRAM_RANGE = 65_712_999_613
USER_HZ = 100


class FileNode:
    """One node under `root`: two sockets of `cpus_per_socket` CPUs, interleaved, a package and a dram zone each."""

    def __init__(
        self,
        root: Path,
        cgroup: str = "v1",
        cpus_per_socket: int = 4,
        name: str = "n1",
        zones: bool = True,
        has_slurm: bool = True,
    ) -> None:
        self.root = root
        self.name = name
        self.cgroup = cgroup
        self.cpus = 2 * cpus_per_socket
        self.sys = root / "sys"
        self.proc = root / "proc"
        self.cgroupfs = root / "cgroup"
        self.energy: dict[str, int] = {}
        self.busy = [0.0] * self.cpus
        self.job_cpu: dict[str, list[float]] = {}
        self.parent_cpu = [0.0] * self.cpus
        self.set_boot_id("11111111-1111-1111-1111-111111111111")
        self._make_cpus()
        for package in (0, 1) if zones else ():
            zone = self.add_zone(f"intel-rapl:{package}", f"package-{package}", PACKAGE_RANGE)
            self.add_zone(f"intel-rapl:{package}:0", "dram", DRAM_RANGE, parent=zone)
        self.set_memory(1 << 30)
        self._write_stat()
        if has_slurm:
            self._write_parent()

    # -- powercap ---------------------------------------------------------------------------------------------

    def add_zone(self, zone: str, name: str, range_uj: int, parent: Path | None = None, start: int = 1000) -> Path:
        """A zone as the kernel makes it: a directory among the virtual devices, a flat link in the class."""
        control = zone.split(":", maxsplit=1)[0]
        folder = (parent or self.sys / "devices/virtual/powercap" / control) / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
        (folder / "constraint_0_power_limit_uw").write_text("200000000\n")
        link = self.sys / "class/powercap" / zone
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder, link.parent))
        self.set_energy(zone, start)
        return folder

    def zone(self, zone: str) -> Path:
        """A zone's real directory."""
        return (self.sys / "class/powercap" / zone).resolve()

    def set_energy(self, zone: str, energy_uj: int) -> None:
        """Set a counter, in place: the collector keeps the file open."""
        self.energy[zone] = energy_uj
        path = self.zone(zone) / "energy_uj"
        with path.open("r+b" if path.exists() else "wb") as file:
            file.write(b"%-20d\n" % energy_uj)

    def add_energy(self, zone: str, energy_uj: int) -> None:
        """Let a counter count, and wrap as the register does."""
        range_uj = int((self.zone(zone) / "max_energy_range_uj").read_text())
        self.set_energy(zone, (self.energy[zone] + energy_uj) % range_uj)

    def count(self, energy_uj: int) -> None:
        """Let every counter count the same; zones that mirror each other then still do."""
        for zone in self.energy:
            self.add_energy(zone, energy_uj)

    def block(self, zone: str) -> None:
        """energy_uj can no longer be read, not even by root."""
        path = self.zone(zone) / "energy_uj"
        path.write_bytes(b"")  # who has it open sees that it is gone
        path.unlink()
        path.mkdir()

    def vanish(self, zone: str) -> None:
        """The zone goes, as it does with the last CPU of its package."""
        path = self.zone(zone) / "energy_uj"
        path.write_bytes(b"")
        path.unlink()

    def set_vendor(self, vendor: str) -> None:
        """Who made the CPUs."""
        (self.proc / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: x\n\n" * self.cpus)

    # -- CPUs -------------------------------------------------------------------------------------------------

    def _make_cpus(self) -> None:
        root = self.sys / "devices/system/cpu"
        root.mkdir(parents=True)
        (root / "online").write_text(f"0-{self.cpus - 1}\n")
        for cpu in range(self.cpus):
            topology = root / f"cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text(f"{cpu % 2}\n")

    def _write_stat(self) -> None:
        ticks = [int(s * USER_HZ) for s in self.busy]
        lines = [f"cpu  {sum(ticks)} 0 0 0 0 0 0 0 0 0"]
        lines += [f"cpu{i} {t} 0 0 0 0 0 0 0 0 0" for i, t in enumerate(ticks)]
        self.proc.mkdir(exist_ok=True)
        _put(self.proc / "stat", "\n".join([*lines, "intr 0", ""]))

    def set_boot_id(self, boot_id: str) -> None:
        """A new boot id is a reboot."""
        path = self.proc / "sys/kernel/random/boot_id"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{boot_id}\n")

    def set_memory(self, used: int) -> None:
        """Memory in use, in bytes."""
        total = 64 << 20
        (self.proc / "meminfo").write_text(
            f"MemTotal: {total} kB\nMemFree: 1 kB\nMemAvailable: {total - used // 1024} kB\n"
        )

    def burn_system(self, cpu: int, seconds: float) -> None:
        """CPU time of something outside the jobs."""
        self.busy[cpu] += seconds
        self._write_stat()

    # -- jobs -------------------------------------------------------------------------------------------------

    def _job_dir(self, job: str, uid: int = 1000) -> Path:
        if self.cgroup == "v1":
            return self.cgroupfs / f"cpuacct/slurm_{self.name}/uid_{uid}/job_{job}"
        entry = job if job.startswith("s") else f"job_{job}"
        return self.cgroupfs / f"system.slice/{self.name}_slurmstepd.scope/{entry}"

    def start_job(self, job: str, uid: int = 1000) -> None:
        """The job's cgroup appears, as it does when its first step starts."""
        self.job_cpu[job] = [0.0] * self.cpus
        folder = self._job_dir(job, uid)
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text("")
        step = folder / "step_batch"
        step.mkdir()
        (step / "cgroup.procs").write_text("4242\n")
        self.set_job_memory(job, 0, uid)
        self._write_job(job, uid)

    def set_job_memory(self, job: str, used: int, uid: int = 1000) -> None:
        """Memory that the job uses, in bytes."""
        if self.cgroup == "v1":
            folder = self.cgroupfs / f"memory/slurm_{self.name}/uid_{uid}/job_{job}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "memory.usage_in_bytes").write_text(f"{used}\n")
        else:
            (self._job_dir(job) / "memory.current").write_text(f"{used}\n")

    def burn(self, job: str, cpu: int, seconds: float, uid: int = 1000) -> None:
        """The job uses CPU time."""
        self.job_cpu[job][cpu] += seconds
        self.parent_cpu[cpu] += seconds
        self.busy[cpu] += seconds
        self._write_job(job, uid)
        self._write_stat()

    def end_job(self, job: str, uid: int = 1000) -> None:
        """The job's cgroup goes; its parent keeps the CPU time."""
        shutil.rmtree(self._job_dir(job, uid))

    def _write_job(self, job: str, uid: int) -> None:
        folder = self._job_dir(job, uid)
        if self.cgroup == "v1":
            self._write_v1(folder, self.job_cpu[job])
        else:
            self._write_v2(folder, self.job_cpu[job])
        self._write_parent()

    def _write_parent(self) -> None:
        """The cgroup above the jobs, which Slurm has made for one of before; it keeps their CPU time."""
        if self.cgroup == "v1":
            folder = self.cgroupfs / f"cpuacct/slurm_{self.name}"
            folder.mkdir(parents=True, exist_ok=True)
            self._write_v1(folder, self.parent_cpu)
        else:
            folder = self._job_dir("0").parent
            folder.mkdir(parents=True, exist_ok=True)
            self._write_v2(folder, self.parent_cpu)

    def _write_v1(self, folder: Path, cpu: list[float]) -> None:
        _put(folder / "cpuacct.usage_percpu", " ".join(str(round(s * 1e9)) for s in cpu) + "\n")

    def _write_v2(self, folder: Path, cpu: list[float]) -> None:
        _put(folder / "cpu.stat", f"usage_usec {round(sum(cpu) * US_PER_S)}\nuser_usec 0\nsystem_usec 0\n")


def _put(path: Path, text: str) -> None:
    """Whole or not at all, as the kernel shows its files."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
