# SPDX-License-Identifier: MIT
"""What a login node needs: asking the aggregator and showing its answer. The standard library only, Python 3.9."""
