# SPDX-License-Identifier: MIT
"""A site for the benchmarks: what its nodes would send, its database, its servers."""
