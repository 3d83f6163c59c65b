#!/bin/sh
# Runs after the files are in place: `configure` and `abort-...` by dpkg, 1 (first) and 2 (upgrade) by rpm.
# It starts nothing that did not run: the site sets [site] zone first.
set -e
case $1 in configure | abort-* | 1 | 2) ;; *) exit 0 ;; esac
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers carbon-acct-server.conf
elif ! getent passwd carbon-acct >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/carbon-aggregator --shell /usr/sbin/nologin carbon-acct
fi
if command -v systemd-tmpfiles >/dev/null; then
    systemd-tmpfiles --create carbon-acct-server.conf || true
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || true
systemctl try-restart carbon-aggregator.service carbon-web.service || true
