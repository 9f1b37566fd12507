#!/usr/bin/env bash
# mini_slurm.sh start|stop FOLDER: a private Slurm of one node, without systemd, cgroups or accounting.
# Root, and: apt-get install -y --no-install-recommends slurm-wlm munge
# Two partitions, `cpu` and `gpu`, and two GPUs that are nothing but allocated. The node claims more cores and memory
# than there are, so that jobs may ask for what they would on a real one.
set -euo pipefail
command=$1
folder=$(realpath -m "$2")
node=$(hostname -s)

write_configuration() {
    cat > "$folder/gres.conf" << END
NodeName=$node Name=gpu Type=fake File=$folder/gpu[0-1]
END
    cat > "$folder/slurm.conf" << END
ClusterName=mini
SlurmctldHost=$node
SlurmUser=root
SlurmdUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.sock
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_min_interval=200000,bf_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MinJobAge=7200
NodeName=$node NodeAddr=127.0.0.1 CPUs=32 RealMemory=128000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=$node Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$node MaxTime=INFINITE State=UP
END
}

start() {
    # srun inside a job has lost SLURM_CONF, so that the configuration must lie where Slurm looks by itself.
    for file in slurm.conf gres.conf; do
        if [ -e "/etc/slurm/$file" ] && ! [ -L "/etc/slurm/$file" ]; then
            echo "/etc/slurm/$file exists: this machine has a Slurm of its own" >&2
            exit 2
        fi
    done
    mkdir -p "$folder"/{state,spool,log} /etc/slurm
    dd if=/dev/urandom of="$folder/munge.key" bs=1 count=1024 status=none
    chmod 600 "$folder/munge.key"
    for i in 0 1; do [ -e "$folder/gpu$i" ] || mknod -m 666 "$folder/gpu$i" c 1 3; done
    write_configuration
    for file in slurm.conf gres.conf; do ln -sfn "$folder/$file" "/etc/slurm/$file"; done
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
        --pid-file="$folder/munged.pid" --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed"
    slurmctld -c
    slurmd -c
    for _ in $(seq 100); do
        if [ "$(sinfo --noheader --format %t 2> /dev/null | sort -u)" = idle ]; then exit 0; fi
        sleep 0.1
    done
    tail -n 20 "$folder"/log/*.log >&2
    exit 1
}

stop() {
    # The steps of a job outlive slurmd.
    scancel --user=root 2> /dev/null || true
    for _ in $(seq 100); do
        if [ -z "$(squeue --noheader 2> /dev/null)" ]; then break; fi
        sleep 0.1
    done
    for daemon in slurmd slurmctld munged; do
        if [ -f "$folder/$daemon.pid" ]; then
            pid=$(cat "$folder/$daemon.pid")
            kill "$pid" 2> /dev/null || true
            for _ in $(seq 100); do
                kill -0 "$pid" 2> /dev/null || break
                sleep 0.1
            done
        fi
    done
    # Without cgroups Slurm loses sight of processes whose parent was killed.
    pkill --signal KILL --full -- "--executor slurm-jobstep" || true
    # A configuration that names a dead controller would slow every call of Snakemake down.
    for file in slurm.conf gres.conf; do
        if [ "$(readlink "/etc/slurm/$file")" = "$folder/$file" ]; then rm "/etc/slurm/$file"; fi
    done
}

"$command"
