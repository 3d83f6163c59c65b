# SPDX-License-Identifier: MIT
"""Slurm as the accounting host sees it: its record of the jobs, its nodes, its users and their rights."""
