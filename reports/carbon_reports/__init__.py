# SPDX-License-Identifier: MIT
"""Month end: reports per site, user and account from the accounting database."""
