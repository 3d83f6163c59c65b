# SPDX-License-Identifier: MIT
"""Tests of the adapters to Slurm."""
