#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs Debian packages without letting them start their services: tests and demo bring up their own,
# in private folders and on private ports.
set -eu
if [ "$(id -u)" != 0 ]; then
    echo "not root, and these Debian packages are missing: $*" >&2
    exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    # Debian's way to say it: 101 is "not allowed" (invoke-rc.d(8)).
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing Debian packages: $*"
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$@" >/dev/null
