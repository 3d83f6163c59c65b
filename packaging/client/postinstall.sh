#!/bin/sh
# Runs after the files are in place: `configure` and `abort-...` by dpkg, 1 (first) and 2 (upgrade) by rpm.
# It compiles the commands for this host's Python, for a quick start.
set -e
case $1 in configure | abort-* | 1 | 2) ;; *) exit 0 ;; esac
python3 -m compileall -q /usr/lib/carbon-acct/client || true
