# SPDX-License-Identifier: MIT
"""Rows on their way to an aggregator: segments on disk, made coarser when full, shipped."""
