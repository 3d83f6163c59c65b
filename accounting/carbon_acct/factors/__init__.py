# SPDX-License-Identifier: MIT
"""The emission factor of each zone and slot, and the arithmetic that applies it."""
