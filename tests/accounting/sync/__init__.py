# SPDX-License-Identifier: MIT
"""Tests of the threads that follow Slurm and the grids."""
