# SPDX-License-Identifier: MIT
"""Simulated hardware for machines without counters: powercap trees, GPUs, and the truth behind them."""
