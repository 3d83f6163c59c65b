# SPDX-License-Identifier: MIT
"""Tests of emission factors and of the arithmetic that applies them."""
