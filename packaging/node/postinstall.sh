#!/bin/sh
# Runs after the files are in place: `configure` and `abort-...` by dpkg, 1 (first) and 2 (upgrade) by rpm.
#
# slurmd may read the folders of the hooks at any moment, and a file there that is not executable drains the node.
# Each hook is therefore made elsewhere and moved in. It is a copy, since nodes without the package may share /etc/slurm,
# and there a link to nowhere would drain them.
set -e
umask 022
case $1 in configure | abort-* | 1 | 2) ;; *) exit 0 ;; esac

# Whether a hook is a copy of ours or what the removal left; one of the site's own under our name stays.
ours() {
    [ ! -e "$1" ] || grep -q '^# Opens (as Prolog=) or closes (as Epilog=)\|^# carbon-acct-node was removed' "$1"
}

for kind in prolog epilog; do
    hook=/etc/slurm/$kind.d/carbon-acct.sh
    source=/usr/lib/carbon-acct/$kind/carbon-acct.sh
    mkdir -p "/etc/slurm/$kind.d"
    if ! ours "$hook"; then
        echo "carbon-acct-node: $hook is not the package's and stays; the package's is $source" >&2
    elif [ -L "$hook" ] || [ ! -x "$hook" ] || ! cmp -s "$source" "$hook"; then
        new=/etc/slurm/.carbon-acct-$kind.new
        rm -f "$new"
        cp "$source" "$new"
        chmod 755 "$new"
        mv -fT "$new" "$hook"
    fi
done

if command -v systemd-tmpfiles >/dev/null; then
    systemd-tmpfiles --create carbon-acct-node.conf || true
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || true
systemctl try-restart carbon-collector.service || true
# A collector that a hook started before the unit was there runs from a file that is gone: the unit takes its place.
pid=
comm=
{ read -r pid </run/carbon-acct/collector.pid; } 2>/dev/null || true
{ read -r comm <"/proc/${pid:-none}/comm"; } 2>/dev/null || true
if [ "$comm" = carbon-collecto ] && [ "$pid" != "$(systemctl show --value -p MainPID carbon-collector.service)" ]; then
    kill "$pid" 2>/dev/null || true
    systemctl --no-block start carbon-collector.service || true
fi
