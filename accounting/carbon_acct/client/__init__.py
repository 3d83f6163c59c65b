# SPDX-License-Identifier: MIT
"""Client: all that a login node needs. It uses the standard library only and runs on Python 3.9."""
