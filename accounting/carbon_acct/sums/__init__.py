# SPDX-License-Identifier: MIT
"""What is computed from delivered rows, one module a table."""
