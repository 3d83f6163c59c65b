# SPDX-License-Identifier: MIT
"""Tests of the grid's intensities: no provider is ever asked but on loopback."""
