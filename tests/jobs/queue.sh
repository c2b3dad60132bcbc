#!/usr/bin/env bash
# The command line of Kaldi's queue.pl, for tests: queue.sh [--option value ...] JOB=1:N log.JOB.log command ...
# Like it, a script is submitted as an array, and arguments become words of a shell.
set -euo pipefail
while [[ $1 == --* ]]; do shift 2; done
range=${1#JOB=} log=$2
shift 2
folder=$(dirname -- "$log")/q
mkdir -p -- "$folder"
script=$folder/job.${range/:/-}.sh
{
  echo '#!/bin/bash'
  echo "command=(${*//JOB/\$SGE_TASK_ID})"
  echo "\"\${command[@]}\" >> ${log//JOB/\$SGE_TASK_ID} 2>&1"
} > "$script"
qsub -v PATH -cwd -S /bin/bash -j y -o "$folder" -sync y -t "${range/:/-}" "$script" &
trap 'qdel -u "$(id -un)" > /dev/null; exit 1' INT TERM
wait $!
