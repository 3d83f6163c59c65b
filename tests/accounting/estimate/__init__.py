# SPDX-License-Identifier: MIT
"""carbon-estimate: what a job would consume, where and when."""
