#!/usr/bin/env bash
# A Slurm of three nodes on this machine, for tests: slurm_cluster.sh VERB FOLDER [NODE]
# Verbs: start, stop, stop-controller, start-controller, cut (a node is gone). Everything is in FOLDER, nothing in /etc.
# A node is a network, host name, process and mount namespace with 2 CPUs and 4 GB, which control groups enforce where
# the machine has their first version. It takes root and Debian's packages slurmctld, slurmd, slurm-client and munge.
set -euo pipefail
verb=$1 home=$2
export SLURM_CONF=$home/slurm.conf
bridge=brfr$(cksum <<< "$home" | cut -c 1-6)
network=10.$((16#$(md5sum <<< "$home" | cut -c 1-2) % 100 + 100)).7
port=$((20000 + 16#$(md5sum <<< "$home" | cut -c 3-5)))
tag=n$(md5sum <<< "$home" | cut -c 6-9 | tr 0-9 g-p) # control groups go by the name of a node, also those of a cluster beside

# inside FOLDER NODE: the first process of a node, which keeps it alive.
inside() {
  hostname "$1"
  mount --make-rprivate /
  mount --bind "$home/hosts" /etc/hosts
  mount --bind "$home/nsswitch.conf" /etc/nsswitch.conf # names from files: no name server is reachable from here
  cd /
  slurmd -N "$1"
  trap : TERM
  while :; do sleep 3600 & wait $!; done
}

configure() {
  local has_cgroups=false number name
  name=$(hostname -s)
  if [ -d /sys/fs/cgroup/memory ]; then has_cgroups=true; fi
  sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf > "$home/nsswitch.conf"
  printf '127.0.0.1 localhost\n%s.254 %s\n' "$network" "$name" > "$home/hosts"
  cat > "$SLURM_CONF" <<C
ClusterName=funrecipe
SlurmctldHost=$name($network.254)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/run/munge.socket
CredType=cred/munge
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool/%n
SlurmctldPidFile=$home/run/slurmctld.pid
SlurmdPidFile=$home/run/slurmd.%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/slurmd.%n.log
ProctrackType=proctrack/$($has_cgroups && echo cgroup || echo linuxproc)
TaskPlugin=task/$($has_cgroups && echo cgroup || echo none)
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SlurmdTimeout=10
KillWait=2
ReturnToService=2
MpiDefault=none
MaxArraySize=4
DefMemPerCPU=100
MailProg=/bin/true
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
C
  if $has_cgroups; then
    printf 'CgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\nConstrainCores=no\n' > "$home/cgroup.conf"
  fi
  for number in 1 2 3; do
    printf '%s.%d %s\n' "$network" "$number" "$tag$number" >> "$home/hosts"
    echo "NodeName=$tag$number NodeAddr=$network.$number Port=$((port + 1)) CPUs=2 RealMemory=4000 State=UNKNOWN"
  done >> "$SLURM_CONF"
  cat >> "$SLURM_CONF" << C
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF DefaultTime=60 State=UP
C
}

start() {
  local number node space deadline
  mkdir -p "$home"/{state,log,run} "$home/spool/$tag"{1,2,3}
  configure
  (umask 077; head -c 128 /dev/urandom > "$home/munge.key")
  munged --socket="$home/run/munge.socket" --key-file="$home/munge.key" --pid-file="$home/run/munged.pid" \
    --log-file="$home/log/munged.log" --seed-file="$home/run/munge.seed" --force
  ip link add "$bridge" type bridge
  ip addr add "$network.254/24" dev "$bridge"
  ip link set "$bridge" up
  slurmctld
  for number in 1 2 3; do
    node=$tag$number space=$bridge-n$number
    ip netns add "$space"
    ip link add "v$number${bridge#br}" type veth peer name eth0 netns "$space"
    ip link set "v$number${bridge#br}" master "$bridge" up
    ip -n "$space" addr add "$network.$number/24" dev eth0
    ip -n "$space" link set eth0 up
    ip -n "$space" link set lo up
    setsid nsenter --net="/run/netns/$space" unshare --uts --mount --pid --fork --mount-proc --kill-child=KILL \
      bash "$0" inside "$home" "$node" > "$home/log/$node.boot" 2>&1 < /dev/null &
    echo $! > "$home/run/$node.pid"
  done
  deadline=$((SECONDS + 30))
  until [ "$(sinfo -h -N -p cpu -o %t | grep -c idle)" -eq 3 ]; do
    [ "$SECONDS" -lt "$deadline" ] || { sinfo -N -o '%N %t %E' >&2; exit 1; }
    sleep 0.1
  done
}

stop() {
  local name number folder
  scontrol shutdown slurmctld 2> /dev/null || true
  for number in 1 2 3; do
    name=$(cat "$home/run/$tag$number.pid" 2> /dev/null || true)
    if [ -n "$name" ]; then kill -KILL "$name" 2> /dev/null || true; fi # with it the node's processes end
    ip netns del "$bridge-n$number" 2> /dev/null || true
  done
  ip link del "$bridge" 2> /dev/null || true
  for name in slurmctld munged; do
    name=$(cat "$home/run/$name.pid" 2> /dev/null || true)
    if [ -n "$name" ]; then kill "$name" 2> /dev/null || true; fi
  done
  for number in 1 2 3; do
    while read -r folder; do rmdir "$folder" 2> /dev/null || true; done \
      < <(find /sys/fs/cgroup/*/"slurm_$tag$number" -depth -type d 2> /dev/null)
  done
}

case $verb in
  start) start ;;
  stop) stop ;;
  inside) inside "$3" ;;
  stop-controller) # which writes down what it has
    pid=$(cat "$home/run/slurmctld.pid")
    kill -TERM "$pid"
    for ((turn = 0; turn < 100; turn++)); do
      if [ ! -e "$home/run/slurmctld.pid" ]; then break; fi
      sleep 0.1
    done
    ;;
  start-controller) slurmctld ;;
  cut) kill -KILL "$(cat "$home/run/$3.pid")" ;; # with its first process all of a node end
  *) echo "slurm_cluster.sh: not a verb: '$verb'" >&2; exit 2 ;;
esac
