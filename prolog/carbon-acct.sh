#!/bin/sh
# SPDX-License-Identifier: MIT
# Opens (as Prolog=) or closes (as Epilog=) a job's ledger: leaves a ticket, wakes the collector, exits 0.
#
# A prolog that fails drains the node, so nothing here may fail, wait or ask: no Slurm command, no network,
# no PATH, and while a collector runs not even a fork. README.md states the contract.
trap 'exit 0' EXIT
umask 077
case ${SLURM_SCRIPT_CONTEXT:-$0} in *epilog*) kind=epilog ;; *) kind=prolog ;; esac

run_dir=/run/carbon-acct
# slurmd hands none of its own environment to a prolog: only a script that calls this one can set CARBON_ACCT_CONF.
conf=${CARBON_ACCT_CONF:-/etc/carbon-acct/carbon-acct.conf}
if [ -f "$conf" ] && [ -r "$conf" ]; then
    # Read, never sourced. '=' or ':' between key and value, as the collector takes it.
    while IFS='=:	 ' read -r key value || [ -n "$key" ]; do
        [ "$key" = run_dir ] && run_dir=${value%%[ 	][#;]*}
    done <"$conf"
    case $run_dir in /*) ;; *) run_dir=/run/carbon-acct ;; esac # as the collector does with what is no path
    # %n is the node's name, as in slurm.conf.
    case $run_dir in *%n*) run_dir=${run_dir%%%n*}${SLURMD_NODENAME-}${run_dir#*%n} ;; esac
fi
[ -d "$run_dir/tickets" ] || /bin/mkdir -p "$run_dir/tickets" 2>/dev/null

# The ticket: like /proc/<pid>/environ, because no value can hold a NUL, whatever a user put into it.
# END says that it is whole. Its name is this process's own; -C refuses to write through a link put there.
set -C
{ printf '%s\0' \
    "KIND=$kind" "SLURMD_NODENAME=${SLURMD_NODENAME-}" "SLURM_CLUSTER_NAME=${SLURM_CLUSTER_NAME-}" \
    "SLURM_CONF=${SLURM_CONF-}" \
    "SLURM_JOB_ID=${SLURM_JOB_ID-}" "SLURM_JOB_UID=${SLURM_JOB_UID-}" "SLURM_JOB_USER=${SLURM_JOB_USER-}" \
    "SLURM_JOB_ACCOUNT=${SLURM_JOB_ACCOUNT-}" "SLURM_JOB_PARTITION=${SLURM_JOB_PARTITION-}" \
    "SLURM_NODELIST=${SLURM_JOB_NODELIST:-${SLURM_NODELIST-}}" \
    "SLURM_JOB_CPUS_PER_NODE=${SLURM_JOB_CPUS_PER_NODE-}" \
    "SLURM_JOB_OVERSUBSCRIBE=${SLURM_JOB_OVERSUBSCRIBE-}" \
    "SLURM_JOB_GPUS=${SLURM_JOB_GPUS-}" "CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES-}" \
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=${CUDA_MPS_ACTIVE_THREAD_PERCENTAGE-}" \
    "SLURM_SHARDS_ON_NODE=${SLURM_SHARDS_ON_NODE-}" \
    "SLURM_JOB_SLUID=${SLURM_JOB_SLUID-}" \
    "SLURM_JOB_START_TIME=${SLURM_JOB_START_TIME-}" "SLURM_JOB_END_TIME=${SLURM_JOB_END_TIME-}" \
    "SLURM_JOB_RESTART_COUNT=${SLURM_JOB_RESTART_COUNT-}" "SLURM_HET_JOB_ID=${SLURM_HET_JOB_ID-}" \
    "END=1" >"$run_dir/tickets/$kind.${SLURM_JOB_ID-0}.$$"; } 2>/dev/null ||
    echo "carbon-acct: no ticket for job ${SLURM_JOB_ID-} in $run_dir/tickets; it will be found by its cgroup" >&2

# A running collector is woken by SIGURG: by default ignored, so a reused process id takes no harm. A process of
# another user (-O: not ours) is no collector, whatever it calls itself.
pid=
comm=
{ read -r pid <"$run_dir/collector.pid"; } 2>/dev/null
# shellcheck disable=SC3067 # every sh in use knows -O: dash, bash, busybox, ksh
case $pid in '' | *[!0-9]*) ;; *) [ -O "/proc/$pid" ] && { read -r comm <"/proc/$pid/comm"; } 2>/dev/null ;; esac
[ "$comm" = carbon-collecto ] && kill -URG "$pid" 2>/dev/null && exit 0

# None runs: start one, in a session of its own, since slurmd kills this script's process group when it ends,
# and with descriptors of its own, since slurmd waits for the end of this script's output.
if [ -d /run/systemd/system ] && { [ -f /etc/systemd/system/carbon-collector.service ] ||
    [ -f /usr/lib/systemd/system/carbon-collector.service ]; }; then
    set -- /usr/bin/systemctl --no-block start carbon-collector.service
else
    for program in /usr/sbin /usr/local/sbin /opt/carbon-acct/bin; do
        [ -x "$program/carbon-collector" ] && break
    done
    set -- "$program/carbon-collector" run --node "${SLURMD_NODENAME-}"
fi
[ -x "$1" ] || exit 0
# One that cannot start (no Python, one that is too old) says nothing itself. So who starts it looks after a few
# seconds and puts one line into syslog, and not a second one before a collector has run here.
# shellcheck disable=SC2016 # the words are the inner shell's
/usr/bin/setsid /bin/sh -c '{
    failed=$1 program=$2; shift 2
    "$@" &
    /bin/sleep 3
    kill -0 $! && exit
    wait $! && exit
    status=$?
    set -C; : >"$failed" || exit
    said=$("$program" --version 2>&1)
    /usr/bin/logger -t carbon-acct -p daemon.err "no collector starts on this node (exit status $status): $said"
} </dev/null >/dev/null 2>&1 &' sh "$run_dir/start.failed" "$1" \
    /usr/bin/env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin \
    ${CARBON_ACCT_CONF:+"CARBON_ACCT_CONF=$CARBON_ACCT_CONF"} "$@" 2>/dev/null
exit 0
