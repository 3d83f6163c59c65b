# SPDX-License-Identifier: MIT
"""The documentation: built as a site, its pictures, its links, and the commands in it."""
