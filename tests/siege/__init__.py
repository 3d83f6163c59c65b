# SPDX-License-Identifier: MIT
"""Everybody at once against one aggregator: strangers, users, nodes' roots, slow readers; and two who only do their work."""
