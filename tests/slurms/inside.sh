#!/bin/bash
# Runs in a Debian root with namespaces of its own: for each case a Slurm of one node, one job, and what became of it.
# A line of output: case|the scripts that ran, in order|the job's state|the node's state
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
mount -t tmpfs none /run; mkdir -p /run/munge /run/slurm /var/log/munge /var/lib/munge /etc/munge
head -c 128 /dev/urandom >/etc/munge/munge.key
chown -R munge:munge /etc/munge /run/munge /var/log/munge /var/lib/munge; chmod 400 /etc/munge/munge.key; chmod 755 /run/munge
setpriv --reuid=munge --regid=munge --clear-groups munged --force >/dev/null 2>&1

script() { mkdir -p "$(dirname "$1")"; printf '#!/bin/sh\necho %s >>/var/log/ran\nexit 0\n' "$2" >"$1"; chmod 755 "$1"; }

one() { # case, lines of slurm.conf, options of slurmd
    rm -rf /var/spool/slurmctld /var/spool/slurmd /var/log/ran /run/slurm/conf; mkdir -p /var/spool/slurmctld /var/spool/slurmd
    : >/var/log/ran
    cat >/etc/slurm/slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$(hostname)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=0
PrologFlags=Alloc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=100000,bf_interval=1,batch_sched_delay=0
NodeName=$(hostname) CPUs=2 State=UNKNOWN
PartitionName=p Nodes=ALL Default=YES State=UP
$2
CONF
    slurmctld >/dev/null 2>&1
    # Configless: slurmd asks slurmctld for its files, and has none of its own.
    if [ "$3" ]; then mv /etc/slurm/slurm.conf /etc/slurm/away.conf; sleep 1; fi
    slurmd $3 >/dev/null 2>&1
    [ "$3" ] && mv /etc/slurm/away.conf /etc/slurm/slurm.conf
    for _ in $(seq 100); do [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && break; sleep 0.1; done
    job=$(sbatch --parsable -o /dev/null -D / --wrap 'sleep 0.1' 2>/dev/null)
    state=none
    for _ in $(seq 100); do
        state=$(scontrol -o show job "$job" 2>/dev/null | grep -oE 'JobState=[A-Z]+ Reason=[A-Za-z_]+' | sed 's/JobState=//; s/ Reason=None//; s/ Reason=/ /')
        node=$(sinfo -h -o %T 2>/dev/null)
        case $state in COMPLETED* | FAILED*) break ;; esac
        case $node in *drain*) break ;; esac
        sleep 0.1
    done
    sleep 0.5
    echo "$1|$(paste -sd' ' /var/log/ran)|$state|$(sinfo -h -o %T 2>/dev/null)"
    for pid in /run/slurmd.pid /run/slurmctld.pid; do
        [ -f "$pid" ] && { p=$(cat "$pid"); kill "$p"; for _ in $(seq 100); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done; kill -9 "$p" 2>/dev/null; rm -f "$pid"; }
    done
}

script /opt/a.sh a
script /opt/b.sh b
script /opt/d/10.sh d10
script /opt/d/20.sh d20
script /etc/slurm/pushed.sh pushed
mkdir -p /opt/bad /opt/none && script /opt/bad/10.sh bad10 && : >/opt/bad/README && chmod 644 /opt/bad/README
printf 'CgroupPlugin=disabled\n' >/etc/slurm/cgroup.conf
# 22.05 cannot do without the plugin; the old one looks at nothing before it has to.
case $(slurmd -V) in *' 22.'*) printf 'CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n' >/etc/slurm/cgroup.conf ;; esac
echo "version|$(slurmd -V | grep -oE '[0-9]+\.[0-9]+\.[0-9]+')||"
one 'one line' 'Prolog=/opt/a.sh'
one 'two lines' $'Prolog=/opt/a.sh\nProlog=/opt/b.sh'
one 'a list' 'Prolog=/opt/a.sh,/opt/b.sh'
one 'a glob' 'Prolog=/opt/d/*.sh'
one 'a glob and a line' $'Prolog=/opt/d/*.sh\nProlog=/opt/a.sh'
one 'a glob that takes what is not executable' 'Prolog=/opt/bad/*'
one 'a glob that takes nothing' 'Prolog=/opt/none/*'
one 'a file that is not there' 'Prolog=/opt/missing.sh'
one 'configless, a name without a folder' $'SlurmctldParameters=enable_configless\nProlog=pushed.sh' "--conf-server $(hostname)"
one 'configless, a name and a line with a folder' $'SlurmctldParameters=enable_configless\nProlog=pushed.sh\nProlog=/opt/a.sh' "--conf-server $(hostname)"
