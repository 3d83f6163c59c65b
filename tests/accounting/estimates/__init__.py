# SPDX-License-Identifier: MIT
"""Tests of estimates."""
