#!/bin/sh
# Notes when this job's prolog or epilog ran on this node, and what its environment was. slurmd runs scripts in the order
# of their names (or against it): a-witness.sh and z-witness.sh have the product's own between them.
case $SLURM_SCRIPT_CONTEXT in *epilog*) kind=epilog ;; *) kind=prolog ;; esac
script=${0##*/}
name=$SLURM_JOB_ID.$SLURM_JOB_RESTART_COUNT.$SLURMD_NODENAME.$kind
: >"/var/lib/witness/times/$name.${script%%-*}"
[ "$script" = a-witness.sh ] && /usr/bin/env -0 >"/var/lib/witness/environment/$name"
exit 0
