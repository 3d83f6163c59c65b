# SPDX-License-Identifier: MIT
"""What tests ask of the product in a machine, and how they hand it segments."""

from __future__ import annotations

import json
import time
from typing import Any

from accounting import samples
from collector.process import eventually
from slurm.layout import PREFIX

from .machine import Machine

AGGREGATOR, COLLECTOR = "carbon-aggregator", "carbon-collector"
STATE = "/var/lib/carbon-aggregator"
PATIENCE_S = 30
HEALTH = "import urllib.request as r; r.urlopen('http://127.0.0.1:6829/healthz', timeout=2)"
DELIVER = """
import sys
sys.path[:0] = [sys.argv[1] + "/src/collector"]
from carbon_collector.http import signed_request
answer = signed_request("POST", "http://127.0.0.1:6829", "/v1/segments", sys.stdin.buffer.read())
print(answer.status, answer.body.decode())
"""
SLOT = (int(time.time()) // 900 - 4) * 900


def is_healthy(machine: Machine) -> bool:
    """Whether the aggregator answers /healthz."""
    return machine.run(["/usr/bin/python3", "-c", HEALTH], check=False).returncode == 0


def start_aggregator(machine: Machine) -> int:
    """Start the unit, wait until it answers; its process id."""
    machine.run(["systemctl", "start", AGGREGATOR])
    eventually(lambda: is_healthy(machine), "the aggregator answers", PATIENCE_S)
    return int(machine.show(AGGREGATOR, "MainPID"))


def status(machine: Machine) -> dict[str, Any]:
    """What `carbon-mgr status` says; asked as root."""
    answer: dict[str, Any] = json.loads(machine.run(["carbon-mgr", "status", "--json"]).stdout)
    return answer


def deliver(machine: Machine, sequence: int) -> tuple[int, dict[str, Any]]:
    """Send a segment of n1 as its root, with a MUNGE credential; status and receipt."""
    energies = {"cpu": samples.node_share(500, 300, 200), "dram": samples.node_share(50, 50, 0)}
    row = samples.node_slot(energies, slot=SLOT, revision=sequence)
    body = samples.segment([row], cluster="units", created=int(time.time()), sequence=sequence)
    done = machine.run(["/usr/bin/python3", "-c", DELIVER, PREFIX], stdin=body)
    code, _, answer = done.stdout.partition(" ")
    return int(code), json.loads(answer)


def owners(machine: Machine, folder: str) -> dict[str, str]:
    """Path below a folder -> owner, group and mode; the folder itself is ''."""
    out = machine.run(["find", folder, "-printf", "%P\t%u %g %m\n"]).stdout
    return dict(line.split("\t") for line in out.splitlines())


def facts(machine: Machine, pid: int) -> dict[str, str]:
    """/proc/<pid>/status of a process in the machine."""
    text = machine.path(f"proc/{pid}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def mounts(machine: Machine, pid: int) -> dict[str, set[str]]:
    """Where things are mounted for a process -> the options of the topmost."""
    lines = machine.path(f"proc/{pid}/mounts").read_text().splitlines()
    return {line.split()[1]: set(line.split()[3].split(",")) for line in lines}
