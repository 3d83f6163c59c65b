# SPDX-License-Identifier: MIT
"""Reports at the end of a month, for the site, its users and its accounts, from the accounting database."""
