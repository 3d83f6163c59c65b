#!/bin/sh
# SPDX-License-Identifier: MIT
# Installs Slurm's configuration and the product in the emulated machine, as an administrator would.
set -eu
here=/exchange

for user in alice:70001 bob:70002; do
    useradd -u "${user#*:}" -m "${user%:*}"
done
useradd -r -d /var/lib/carbon-aggregator -s /usr/sbin/nologin carbon-acct
cp -r "$here/root/." /

# The product: one file and a unit for the node, a script as Prolog= and Epilog=, a virtual environment for the site.
install -m 755 "$here/carbon-collector" /usr/sbin/carbon-collector
install -m 644 "$here/carbon-collector.service" /etc/systemd/system/carbon-collector.service
for kind in prolog epilog; do
    install -d "/etc/slurm/$kind.d"
    install -m 755 "$here/carbon-acct.sh" "/etc/slurm/$kind.d/carbon-acct.sh"
    install -m 755 /etc/slurm/witness.sh "/etc/slurm/$kind.d/a-witness.sh"
    install -m 755 /etc/slurm/witness.sh "/etc/slurm/$kind.d/z-witness.sh"
done
/opt/carbon-acct/bin/pip install --quiet --no-index --no-deps "$here"/carbon_acct-*.whl

# Slurm: two slurmd by the package's own unit.
install -d -o slurm -g slurm /var/lib/slurm/slurmctld /var/log/slurm
chown slurm:slurm /etc/slurm/slurmdbd.conf
chmod 600 /etc/slurm/slurmdbd.conf
echo 'SLURMD_OPTIONS="-N n1"' >/etc/default/slurmd
cp /usr/lib/systemd/system/slurmd.service /etc/systemd/system/slurmd-n2.service
# What n2's unit binds has to be there before.
install -d /var/lib/witness/times /var/lib/witness/environment /var/lib/carbon-acct /var/spool/carbon-acct /run/carbon-acct \
    /var/lib/carbon-n2/state /var/lib/carbon-n2/spool
echo 'd /run/carbon-acct 0711' >/etc/tmpfiles.d/carbon-acct.conf
systemctl daemon-reload

systemctl enable -q --now emulated-address simulator munge carbon-aggregator mariadb
mariadb -e "create user slurm@localhost identified via unix_socket;
    create database slurm_acct_db; grant all on slurm_acct_db.* to slurm@localhost"
systemctl restart munge
systemctl enable -q --now slurmdbd
until sacctmgr -n show cluster >/dev/null 2>&1; do sleep 0.5; done
sacctmgr -i load file=/etc/slurm/accounts.cfg >/dev/null
systemctl enable -q --now slurmctld
# A slurmctld that never stopped has not written all of its state yet, and after a crash refuses to start without.
systemctl restart slurmctld
# slurmd and slurmd-n2 are started by inside.py, at each boot when it is time.
