# SPDX-License-Identifier: MIT
"""The two threads that follow the outside world: Slurm's accounting and the grids."""
