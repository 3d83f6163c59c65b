# SPDX-License-Identifier: MIT
"""The packages: built twice, installed, upgraded and removed in a fresh Debian root, unpacked by rpm."""
