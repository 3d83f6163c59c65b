# SPDX-License-Identifier: MIT
"""The Ansible role, over ssh, on machines of their own with a real systemd and a real Slurm that has never heard of us."""
