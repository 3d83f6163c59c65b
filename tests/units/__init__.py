# SPDX-License-Identifier: MIT
"""The units under a real systemd."""
