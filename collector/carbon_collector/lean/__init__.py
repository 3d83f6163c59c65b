# SPDX-License-Identifier: MIT
"""What the node uses in place of the standard library's larger wrappers, for memory; docs/adr/0002 says why."""
