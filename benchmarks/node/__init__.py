# SPDX-License-Identifier: MIT
"""What the benchmarks of the node's side are made of."""
