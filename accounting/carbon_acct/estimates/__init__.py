# SPDX-License-Identifier: MIT
"""Estimates: finds the energy of jobs that nobody measured, and estimates it."""
