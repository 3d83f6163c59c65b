# SPDX-License-Identifier: MIT
"""What the Ansible role does to a slurm.conf."""
