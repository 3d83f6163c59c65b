# SPDX-License-Identifier: MIT
"""Ring 5: the newest Slurm under systemd, cgroup v2 and SLUID paths, in an emulated machine that is also rebooted."""
