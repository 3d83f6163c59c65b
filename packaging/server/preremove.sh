#!/bin/sh
# Runs before the files go: `remove` by dpkg, 0 by rpm. The database and its backups stay, whatever is purged.
set -e
case $1 in remove | 0) ;; *) exit 0 ;; esac
if [ -d /run/systemd/system ]; then
    systemctl disable --now carbon-aggregator.service carbon-backup.timer carbon-prune.timer carbon-report.timer carbon-report-send.timer carbon-web.socket carbon-web.service || true
fi
