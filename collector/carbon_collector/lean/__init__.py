# SPDX-License-Identifier: MIT
"""Small stand-ins for modules of the standard library, each named after the one that it replaces, to save memory.

docs/adr/0002 gives the reason and the measurements.
"""
