# SPDX-License-Identifier: MIT
"""Access: who made a credential, which jobs a user may see, and who may deliver for a node."""
