#!/bin/sh
# Runs before the files go, and before an upgrade: takes away what the installation compiled.
set -e
case $1 in remove | upgrade | 0) ;; *) exit 0 ;; esac
find /usr/lib/carbon-acct/client -depth -name __pycache__ -type d -exec rm -r {} +
