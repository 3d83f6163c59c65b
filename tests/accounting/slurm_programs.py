# SPDX-License-Identifier: MIT
"""Stand-ins for Slurm's programs: they print what a file beside them says, in the form they were asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from carbon_acct.slurm.programs import Programs

SACCT = """\
import json, sys, time
here = __file__.rpartition("/")[0]
with open(here + "/sacct.json") as file:
    said = json.load(file)
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if "--version" in sys.argv:
    print("slurm-wlm", said["version"])
    sys.exit()
if said.get("error"):
    sys.exit("sacct: error: " + said["error"])
time.sleep(said["slow_s"])
delimiter = next(a for a in sys.argv if a.startswith("--delimiter=")).partition("=")[2]
fields = sys.argv[sys.argv.index("-o") + 1].split(",")
for job in said["jobs"]:
    unknown = [f for f in fields if f not in job]
    if unknown:
        sys.exit("sacct: fatal: Invalid field requested: " + unknown[0])
    row = "".join(job[f] + delimiter for f in fields) + "\\n"
    sys.stdout.buffer.write(row.encode("utf-8", "surrogateescape"))
"""
# A shell, which starts in a tenth of the time: every poll runs ten of these.
PRINT = """\
here=${0%/*} name=${0##*/}
all=$name two=$name count=0
for word; do
    case $word in -* | *=*) continue ;; esac
    count=$((count + 1)) all="$all $word"
    [ $count -gt 2 ] || two="$two $word"
done
for key in "$all" "$two" "$name"; do
    [ -e "$here/$key.txt" ] && exec cat "$here/$key.txt"
done
echo "$name: error: Unable to contact slurm controller" >&2
exit 1
"""
ROW = {
    "Cluster": "demo",
    "JobIDRaw": "7",
    "JobID": "7",
    "JobName": "job",
    "User": "alice",
    "UID": "1000",
    "Account": "physics",
    "Partition": "p",
    "QOS": "normal",
    "State": "COMPLETED",
    "ExitCode": "0:0",
    "Submit": "1350000000",
    "Eligible": "1350000000",
    "Start": "1350000010",
    "End": "1350000070",
    "ElapsedRaw": "60",
    "NNodes": "1",
    "NCPUS": "2",
    "AllocTRES": "cpu=2",
    "NodeList": "n1",
    "Group": "staff",
    "GID": "50",
    "TimelimitRaw": "10",
    "ReqCPUS": "2",
    "ReqNodes": "1",
    "ReqTRES": "billing=2,cpu=2",
    "Reason": "None",
    "Comment": "",
    "WorkDir": "/home/alice",
    "DerivedExitCode": "0:0",
    "Suspended": "00:00:00",
}
SLURM_CONF = {
    "ClusterName": "demo",
    "Prolog": "/etc/slurm/prolog.d/*.sh",
    "Epilog": "/etc/slurm/epilog.d/carbon-acct.sh",
    "PrologFlags": "Alloc,Contain",
    "ProctrackType": "proctrack/cgroup",
    "JobAcctGatherType": "jobacct_gather/cgroup",
}
CONFIG = "SlurmDBD configuration:\nPrivateData            = {private}\nSlurmUserId            = slurm({uid})\n{more}"


class StandIn:
    """A folder with stand-ins; tests change what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sacct", "sinfo", "scontrol", "sacctmgr", "sdiag"):
            path = folder / name
            path.write_text(f"#!{sys.executable} -IS\n{SACCT}" if name == "sacct" else f"#!/bin/sh\n{PRINT}")
            path.chmod(0o755)
        self.jobs([])
        self.says("sinfo", "n1    localhost   127.0.0.1\n")
        self.says("sdiag", "*****\nServer thread count:  3\nDBD Agent queue size: 0\n")
        self.says("scontrol show config", "".join(f"{key} = {value}\n" for key, value in SLURM_CONF.items()))
        self.rights()

    @property
    def programs(self) -> Programs:
        """Slurm's programs, found in this folder."""
        return Programs(search=(str(self.folder),), timeout_s=20)

    def says(self, call: str, text: str) -> None:
        """Have a program print `text` from now on."""
        (self.folder / f"{call}.txt").write_text(text)

    def jobs(self, rows: list[dict[str, str]], version: str = "22.05.8", error: str = "", slow_s: float = 0) -> None:
        """Have sacct print these rows, each changed from ROW, after `slow_s`; or fail with `error`."""
        said = {"version": version, "jobs": [ROW | row for row in rows], "error": error, "slow_s": slow_s}
        (self.folder / "sacct.json").write_text(json.dumps(said))

    def rights(self, private: str = "none", users: str = "", tree: str = "", uid: int = 64030, more: str = "") -> None:
        """Have sacctmgr print these rights, and `more` lines of slurmdbd's configuration."""
        self.says("sacctmgr show configuration", CONFIG.format(private=private, uid=uid, more=more))
        self.says("sacctmgr show user", users)
        self.says("sacctmgr show associations", tree)
        self.says("sacctmgr show qos", "normal\n")

    def calls(self) -> list[list[str]]:
        """Arguments of every query that sacct got."""
        path = self.folder / "calls"
        found: list[Any] = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [call for call in found if "--version" not in call]
