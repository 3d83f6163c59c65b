# SPDX-License-Identifier: MIT
"""Rings 1 and 2 of the node's side: the collector's modules, and the collector as a process."""
