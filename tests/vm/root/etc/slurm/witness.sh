#!/bin/sh
# Notes when this job's prolog or epilog ran on this node, and what its environment was.
case $SLURM_SCRIPT_CONTEXT in *epilog*) kind=epilog ;; *) kind=prolog ;; esac
name=$SLURM_JOB_ID.$SLURM_JOB_RESTART_COUNT.$SLURMD_NODENAME.$kind
: >"/var/lib/witness/times/$name"
/usr/bin/env -0 >"/var/lib/witness/environment/$name"
exit 0
