#!/bin/sh
# Runs after the files are gone. What was measured and not delivered stays until dpkg purges the package.
set -e
case $1 in
purge) rm -rf /run/carbon-acct /var/lib/carbon-acct /var/spool/carbon-acct ;;
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
