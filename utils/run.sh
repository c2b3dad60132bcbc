#!/usr/bin/env bash
# Run a command, or several of it at once, on this machine, with Kaldi's command line and logs:
#   utils/run.sh [--max-jobs-run N] [--num-threads N] [JOB=1:N] LOG COMMAND [ARGUMENT ...]
# For each number from 1 to N the word JOB is replaced in LOG and the arguments. The command is run as it is written,
# without a shell: spaces, quotes and $ in arguments stay as they are. Other options with a value (--mem 4G, --gpu 0)
# have no effect, as in Kaldi's run.pl, so that the scripts of a cluster can take its place. Exit code 1: a job failed.
set -euo pipefail
name=${0##*/}
usage() {
  echo "$name: $1" >&2
  echo "  do: $name [--max-jobs-run N] [JOB=1:N] log/x.JOB.log command argument ..." >&2
  exit 2
}

max_jobs=$(env -u OMP_NUM_THREADS nproc) threads=1 word='' first=1 last=1
while [ $# -gt 0 ]; do
  case $1 in
    --*)
      [ $# -ge 2 ] || usage "option $1 has no value"
      case $1 in
        --max-jobs-run) max_jobs=$2 ;;
        --num-threads) threads=$2 ;;
      esac
      shift 2
      ;;
    *)
      if [[ -z $word && $1 =~ ^([A-Za-z_][A-Za-z0-9_]*)=([0-9]{1,9}):([0-9]{1,9})$ ]]; then
        word=${BASH_REMATCH[1]} first=$((10#${BASH_REMATCH[2]})) last=$((10#${BASH_REMATCH[3]}))
      elif [[ -z $word && $1 =~ ^([A-Za-z_][A-Za-z0-9_]*)=([0-9]{1,9})$ ]]; then
        word=${BASH_REMATCH[1]} first=$((10#${BASH_REMATCH[2]})) last=$((10#${BASH_REMATCH[2]}))
      else
        break
      fi
      shift
      ;;
  esac
done
[[ $max_jobs =~ ^0*[1-9][0-9]{0,5}$ ]] || usage "--max-jobs-run '$max_jobs' is not a positive number"
[[ $threads =~ ^0*[1-9][0-9]{0,5}$ ]] || usage "--num-threads '$threads' is not a positive number"
[ "$first" -ge 1 ] && [ "$last" -ge "$first" ] || usage "$word=$first:$last is not a range from 1 on"
[ $# -ge 2 ] || usage "a log and a command are missing"
log=$1
shift

# with_number N TEXT: TEXT with the word replaced where it stands alone, into the variable "replaced".
with_number() {
  local rest=$2 before
  replaced=
  [ -n "$word" ] || { replaced=$rest; return; }
  while [[ $rest == *"$word"* ]]; do
    before=${rest%%"$word"*}
    rest=${rest#*"$word"}
    if [[ $replaced$before =~ [A-Za-z0-9_]$ || $rest =~ ^[A-Za-z0-9_] ]]; then
      replaced+=$before$word
    else
      replaced+=$before$1
    fi
  done
  replaced+=$rest
}

with_number "$last" "$log"
[ "$first" -eq "$last" ] || [ "$replaced" != "$log" ] || usage "the log '$log' is the same for all jobs: put $word into its name"

# job N LOG COMMAND ...: runs in the background, in a process group of its own.
job() {
  local file=$2 code=0 began=$SECONDS
  shift 2
  {
    printf '#'; printf ' %q' "$@"; printf '\n'
    printf '# Started at %s\n#\n' "$(date)"
  } > "$file"
  OMP_NUM_THREADS=$threads "$@" >> "$file" 2>&1 < /dev/null || code=$?
  printf '# Accounting: time=%d threads=%d\n' $((SECONDS - began)) "$threads" >> "$file"
  if [ "$code" -gt 128 ]; then
    printf '# Ended (code 0; signal %d) at %s, elapsed time %d seconds\n' $((code - 128)) "$(date)" $((SECONDS - began)) >> "$file"
  else
    printf '# Ended (code %d) at %s, elapsed time %d seconds\n' "$code" "$(date)" $((SECONDS - began)) >> "$file"
  fi
  return "$code"
}

running=0 failed=0
finish() {
  trap '' INT TERM HUP
  local pid
  for pid in $(jobs -p); do kill -TERM -- "-$pid" 2> /dev/null || true; done
  wait
  exit 130
}
trap finish INT TERM HUP
# collect: wait for one of the jobs.
collect() {
  local code=0
  wait -n 2> /dev/null || code=$?
  running=$((running - 1))
  if [ "$code" -ne 0 ]; then failed=$((failed + 1)); fi
}

set -m # each job is a process group, which can be ended whole
for ((number = first; number <= last; number++)); do
  while [ "$running" -ge $((10#$max_jobs)) ]; do collect; done
  command=()
  for argument in "$@"; do
    with_number "$number" "$argument"
    command+=("$replaced")
  done
  with_number "$number" "$log"
  mkdir -p -- "$(dirname -- "$replaced")"
  job "$number" "$replaced" "${command[@]}" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do collect; done
if [ "$failed" -gt 0 ]; then
  with_number '*' "$log"
  echo "$name: $failed / $((last - first + 1)) failed, log is in $replaced" >&2
  exit 1
fi
