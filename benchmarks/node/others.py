# SPDX-License-Identifier: MIT
"""Other tools on the same simulated counters: CodeCarbon and Carbontracker from PyPI, node_exporter from Debian.

Each sees a powercap tree at the kernel's real path, in a mount namespace of its own. Versions are pinned.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .site import CHECKOUT, WATTS, until

sys.path.insert(0, str(CHECKOUT / "tests"))

from simulator.powercap import Powercap

if TYPE_CHECKING:
    from collections.abc import Callable

BUILD = CHECKOUT / "build/bench"
DEBIAN = "prometheus-node-exporter"
SCRAPE_S = 10.0
CODECARBON = (
    "from codecarbon import OfflineEmissionsTracker as T; import time; "
    "t = T(country_iso_code='DEU', output_dir=__import__('os').environ['HOME'], log_level='critical'); t.start(); "
    "assert any(type(h).__name__ == 'CPU' for h in t._hardware), 'no RAPL'; print('on', flush=True); time.sleep(1e6)"
)
CARBONTRACKER = (
    "from carbontracker.tracker import CarbonTracker as T; import time; "
    "t = T(epochs=1, verbose=0, components='cpu'); t.epoch_start(); print('on', flush=True); time.sleep(1e6)"
)
# Private mounts: /sys/class and /sys/devices/virtual are replaced for this process alone.
MOUNTS = """
mount -t tmpfs none /sys/class && mkdir /sys/class/powercap && mount --bind "$0/class" /sys/class/powercap &&
mount -t tmpfs none /sys/devices/virtual && mkdir /sys/devices/virtual/powercap &&
mount --bind "$0/devices" /sys/devices/virtual/powercap && cd / && exec "$@"
"""


class Missing(Exception):  # noqa: N818 - a fact for the table, not an error
    """A tool cannot be had or does not run here; the message says why."""


class Tool(NamedTuple):
    """One tool: name with version, how often it reads by default, and its command line for a port."""

    name: str
    reads: str
    command: Callable[[int], list[str]]
    scraped: bool


def _from_pypi(package: str, version: str, code: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        del port
        python = BUILD / package / "bin/python"
        marker = BUILD / package / f".{version}"
        if not marker.exists():
            try:
                subprocess.run([sys.executable, "-m", "venv", "--clear", BUILD / package], check=True)
                quiet = ["-qq", "--disable-pip-version-check"]
                subprocess.run([python, "-m", "pip", "install", *quiet, f"{package}=={version}"], check=True)
            except (OSError, subprocess.CalledProcessError) as err:
                raise Missing(f"pip install {package}=={version}: {err}") from err
            marker.touch()
        return [str(python), "-c", code]

    return command


def _node_exporter(*options: str) -> Callable[[int], list[str]]:
    def command(port: int) -> list[str]:
        root = BUILD / DEBIAN
        program = root / "usr/bin" / DEBIAN
        if not program.exists():
            try:
                root.mkdir(parents=True, exist_ok=True)
                subprocess.run(["apt-get", "download", "-qq", DEBIAN], cwd=root, check=True, stderr=subprocess.DEVNULL)
                package = next(root.glob("*.deb"))
                subprocess.run(["dpkg-deb", "-x", package, root], check=True)  # unpacked, not installed: no service
            except (OSError, subprocess.CalledProcessError, StopIteration) as err:
                raise Missing(f"apt-get download {DEBIAN}: {err}") from err
        return [str(program), *options, f"--web.listen-address=127.0.0.1:{port}"]

    return command


TOOLS = (
    Tool("CodeCarbon 3.3.2", "15 s, 1 s", _from_pypi("codecarbon", "3.3.2", CODECARBON), scraped=False),
    Tool("Carbontracker 2.4.7", "1 s", _from_pypi("carbontracker", "2.4.7", CARBONTRACKER), scraped=False),
    Tool(
        "node_exporter, rapl alone",
        "10 s",
        _node_exporter("--collector.disable-defaults", "--collector.rapl"),
        scraped=True,
    ),
    Tool("node_exporter, as installed", "10 s", _node_exporter(), scraped=True),
)


class Running:
    """A tool that runs on its own simulated counters."""

    def __init__(self, tool: Tool, root: Path) -> None:
        self.tool = tool
        self.port = _free_port() if tool.scraped else 0
        command = tool.command(self.port)
        self._powercap = Powercap(root / "powercap")
        _link_subsystem(root / "powercap/devices")
        self._energy_uj = dict.fromkeys(self._powercap.ranges, 1000000000)
        self.animate(1.0)
        self._scraped_s = 0.0
        home = root / "home"
        home.mkdir()
        env = {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "TMPDIR": str(home)}
        args = ["unshare", "--mount", "--propagation=private", "sh", "-c", MOUNTS, str(root / "powercap"), *command]
        self._said = root / "said"
        with self._said.open("wb") as said:
            self.process = subprocess.Popen(args, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            until(self._is_on, f"{tool.name} runs")
        except TimeoutError as err:
            self.stop()
            raise Missing(self._said.read_text(errors="replace").strip()[-200:] or str(err)) from err

    def _is_on(self) -> bool:
        if self.process.poll() is not None:
            raise TimeoutError("it ended")
        if self.tool.scraped:
            with contextlib.suppress(OSError):
                return "node_rapl" in self.scrape()
            return False
        return "on\n" in self._said.read_text(errors="replace")

    def scrape(self) -> str:
        """What Prometheus would do."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def animate(self, seconds: float) -> None:
        """Let the counters count, and scrape when it is time to."""
        for zone in self._energy_uj:
            self._energy_uj[zone] += int(WATTS["dram" if zone.startswith("dram") else "package"] * seconds * 1e6)
        self._powercap.write(self._energy_uj)
        if self.port and hasattr(self, "process") and time.monotonic() - self._scraped_s >= SCRAPE_S:
            self._scraped_s = time.monotonic()
            self.scrape()

    def stop(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _link_subsystem(devices: Path) -> None:
    """The kernel's link from each device to its class, by which CodeCarbon looks for RAPL."""
    for energy in [*devices.glob("*/enabled"), *devices.rglob("energy_uj")]:
        up = "../" * (len(energy.relative_to(devices).parts) + 2)
        link = energy.parent / "subsystem"
        if not link.is_symlink():
            link.symlink_to(f"{up}class/powercap")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
