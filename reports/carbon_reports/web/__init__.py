# SPDX-License-Identifier: MIT
"""carbon-web: pages for those who prefer a browser, behind the site's proxy. It reads, and changes nothing."""
