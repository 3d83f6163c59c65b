# SPDX-License-Identifier: MIT
"""Simulated trainings, and the rules that predict their energy."""
