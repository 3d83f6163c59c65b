#!/bin/sh
# Runs before the files go: `remove` by dpkg, 0 by rpm. At an upgrade it does nothing.
#
# slurm.conf may still name a hook. slurmd drains a node whose hook is missing or whose glob matches nothing, so that
# a script which does nothing stays there, moved in at once, until slurm.conf is changed.
set -e
case $1 in remove | 0) ;; *) exit 0 ;; esac

# Whether a slurm.conf on this node may still need the hook; yes where Slurm is here and its slurm.conf was not found.
needed() {
    found=no
    for conf in /etc/slurm/*.conf /etc/slurm-llnl/*.conf /run/slurm/conf/*.conf /var/spool/slurmd/conf-cache/*.conf; do
        [ -f "$conf" ] || continue
        grep -Eiq "^[[:space:]]*$1[[:space:]]*=.*([*?[]|carbon-acct)" "$conf" && return 0
        case $conf in */slurm.conf) found=yes ;; *) continue ;; esac
        grep -Eiq '^[[:space:]]*include[[:space:]]' "$conf" && return 0 # what it includes is not looked for
    done
    [ $found = no ] && command -v slurmd >/dev/null
}

for kind in prolog epilog; do
    hook=/etc/slurm/$kind.d/carbon-acct.sh
    cmp -s "/usr/lib/carbon-acct/$kind/carbon-acct.sh" "$hook" || continue
    if needed $kind; then
        new=/etc/slurm/.carbon-acct-$kind.new
        rm -f "$new"
        printf '%s\n' '#!/bin/sh' '# carbon-acct-node was removed. Delete this file when slurm.conf no longer needs it.' \
            'exit 0' >"$new"
        chmod 755 "$new"
        mv -fT "$new" "$hook"
        echo "carbon-acct-node: $hook stays, and does nothing: slurm.conf may need it. Change slurm.conf, run" \
            "scontrol reconfigure, then delete it" >&2
    else
        rm -f "$hook"
        rmdir --ignore-fail-on-non-empty "/etc/slurm/$kind.d"
    fi
done
if [ -d /run/systemd/system ]; then
    systemctl disable --now carbon-collector.service || true
fi
