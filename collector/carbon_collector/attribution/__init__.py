# SPDX-License-Identifier: MIT
"""Splits what each meter counted among the jobs present, idle and system. No I/O."""
