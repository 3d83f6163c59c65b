# SPDX-License-Identifier: MIT
"""Who speaks and what that person or node may do: MUNGE credentials, viewers, nodes."""
