# SPDX-License-Identifier: MIT
"""Delivery: from the bytes of a segment to checked records and stored rows."""
