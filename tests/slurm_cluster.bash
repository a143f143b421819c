# Sourced by tests/end_slurm.sh: a SLURM cluster of its own on this machine. Its nodes are daemons on
# loopback: n0 and n1 for all, and n2, which only the partition `frail` has and takes first. All of it
# is in $cluster, a new directory; a SLURM or munge that the machine has is not touched.
# shellcheck shell=bash
cluster=$(mktemp -d "${TMPDIR:-/tmp}/vario-slurm.XXXXXX")
chmod 755 "$cluster" # munge wants its socket within reach of all
export SLURM_CONF=$cluster/slurm.conf
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=lo # "nodes" of one host cannot share memory
munge=$cluster/munge

# free_ports COUNT: ports that nobody listens on, below those that the system gives to clients.
free_ports()
{
    shuf -i 20000-29999 | while read -r port; do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || echo "$port"
    done | head -n "$1"
}

# soon SECONDS COMMAND...: wait until it succeeds; false when it does not in that time.
soon()
{
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

cluster_configure()
{
    local host ports node
    host=$(uname -n | cut -d . -f 1)
    mapfile -t ports < <(free_ports 4)
    cat >"$SLURM_CONF" <<END
ClusterName=vario
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=${ports[3]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$munge.socket,cred_expire=5
StateSaveLocation=$cluster/state
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdPidFile=$cluster/%n.pid
SlurmdLogFile=$cluster/%n.log
SlurmdSpoolDir=$cluster/%n
TmpFS=$cluster/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
KillWait=10
MinJobAge=3600
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
PartitionName=main Nodes=n0,n1 Default=YES State=UP
PartitionName=frail Nodes=ALL State=UP
END
    for node in 0 1 2; do
        echo "NodeName=n$node NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[node]} CPUs=8 RealMemory=1000 Weight=$((3 - node))"
        mkdir -p "$cluster/n$node" "$cluster/tmp-n$node"
    done >>"$SLURM_CONF"
    mkdir "$cluster/state"
}

# cluster_without_pmix: prints what makes a job take this SLURM for one without PMIx.
cluster_without_pmix()
{
    local plugins
    plugins=$(scontrol show config | sed -n 's/^PluginDir *= *//p')
    cp -rs "$plugins" "$cluster/plugins"
    rm "$cluster"/plugins/mpi_pmix*
    { cat "$SLURM_CONF"; echo "PluginDir=$cluster/plugins"; } >"$cluster/no-pmix.conf"
    echo "export SLURM_CONF=$cluster/no-pmix.conf"
}

node_start() { slurmd -N "$1"; }
process_of() { cat "$cluster/$1.pid" 2>/dev/null; }

all_idle() { [ "$(sinfo --noheader --Node --states=idle --format=%N | sort -u | wc -l)" -eq 3 ]; }

# watch PID: stop the cluster when that process is gone, even if it was killed outright.
watch()
{
    while kill -0 "$1" 2>/dev/null; do sleep 1; done
    cluster_stop
}

cluster_start()
{
    cluster_configure
    (watch $$ </dev/null >/dev/null 2>&1 &)
    head -c 128 /dev/urandom >"$munge.key"
    chmod 600 "$munge.key"
    munged --key-file="$munge.key" --socket="$munge.socket" --pid-file="$munge.pid" \
        --log-file="$munge.log" --seed-file="$munge.seed" || return 1
    slurmctld && node_start n0 && node_start n1 && node_start n2 &&
        soon 30 all_idle
}

# of_cluster: /proc/PID/environ of all that was started with this configuration.
of_cluster() { grep -lsz "^SLURM_CONF=$cluster/" /proc/[0-9]*/environ; }

# Nothing of it stays, daemons, steps, ranks, whatever came before.
cluster_stop()
{
    export -n SLURM_CONF # the processes below shall not find themselves
    for _ in 1 2; do # the second finds what was just being started
        of_cluster | cut -d / -f 3 | xargs -r kill -KILL 2>/dev/null || true # some are gone by now
    done
    rm -rf "$cluster"
}
