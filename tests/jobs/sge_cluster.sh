#!/usr/bin/env bash
# A GridEngine of one host, from Debian's packages, in namespaces of its own: sge_cluster.sh FOLDER [SLOTS]
# Runs until it is killed; then its processes and namespaces are gone. FOLDER/pid is there when jobs can be submitted:
# nsenter -t PID -a COMMAND runs a command on the host.
set -euo pipefail
home=$1 slots=${2:-2}
if [ "${3:-}" != inside ]; then
  cp -a /var/lib/gridengine "$home/root"
  mkdir -p "$home/spool" && cp -a /var/spool/gridengine/. "$home/spool"
  exec unshare --mount --uts --net --pid --fork --kill-child --mount-proc bash "$0" "$home" "$slots" inside
fi

name=sgehost address=10.78.0.1
mount --make-rprivate /
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" > "$home/hosts"
sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf > "$home/nsswitch.conf"
mount --bind "$home/hosts" /etc/hosts
mount --bind "$home/nsswitch.conf" /etc/nsswitch.conf
mount --bind "$home/root" /var/lib/gridengine
mount --bind "$home/spool" /var/spool/gridengine
hostname "$name"
ip link set lo up
ip address add "$address/32" dev lo
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
echo "$name" > "$SGE_ROOT/default/common/act_qmaster"

# until_true COMMAND ...: waits at most 20 s for it to succeed
until_true() {
  local try
  for ((try = 0; try < 200; try++)); do
    if "$@" > /dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "sge_cluster.sh: '$*' did not succeed" >&2
  exit 1
}

sge_qmaster
until_true qconf -sh
qconf -ah "$name" || true
qconf -as "$name"
# Settings can only be changed by way of an editor.
cat > "$home/editor" <<'EDITOR'
#!/usr/bin/env bash
sed -i 's/^min_uid .*/min_uid 0/; s/^min_gid .*/min_gid 0/' "$1"
sleep 1 # a file whose time has not changed is not read
touch "$1"
EDITOR
chmod +x "$home/editor"
EDITOR="$home/editor" qconf -mconf
cat > "$home/host" <<HOST
hostname $name
load_scaling NONE
complex_values NONE
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
HOST
qconf -Ae "$home/host"
{
  printf '%s\n' "qname all.q" "hostlist $name" "seq_no 0" "priority 0" "qtype BATCH" "rerun FALSE" "slots $slots" \
    "tmpdir /tmp" "shell /bin/bash" "shell_start_mode unix_behavior" "nsuspend 1" "suspend_interval 00:05:00" \
    "min_cpu_interval 00:05:00" "processors UNDEFINED" "initial_state default" "notify 00:00:60"
  for key in load_thresholds suspend_thresholds ckpt_list pe_list prolog epilog starter_method suspend_method \
    resume_method terminate_method owner_list user_lists xuser_lists subordinate_list complex_values projects \
    xprojects calendar; do echo "$key NONE"; done
  for limit in rt cpu fsize data stack core rss vmem; do printf 's_%s INFINITY\nh_%s INFINITY\n' "$limit" "$limit"; done
} > "$home/queue"
qconf -Aq "$home/queue"
qconf -ssconf | sed 's/^schedule_interval .*/schedule_interval 0:0:1/; s/^flush_\(submit\|finish\)_sec .*/flush_\1_sec 1/' \
  > "$home/scheduler"
qconf -Msconf "$home/scheduler"
sge_execd
is_up() { qstat -f | grep all.q | grep -qv -- '-NA-'; }
until_true is_up
touch "$home/ready"
sleep infinity
