# shellcheck shell=bash
# Training in one process or in many, on one machine or on several: its options, and the only place that starts it.
# Sourced by recipes that train, after utils/recipe.sh.
# shellcheck disable=SC2154  # options are set by declare_option

declare_option num_gpus 0 "number of GPUs of this machine, one process each; 0: CPU" count
declare_option num_processes 1 "number of processes on the CPU (with --num_gpus 0)" count
declare_option num_nodes 1 "number of machines; with --backend slurm, or in a job of Slurm with as many nodes, all are started; elsewhere start this script on each, with its --node_rank and a shared output folder" count
declare_option node_rank 0 "index of this machine; 0 runs every stage, the others only train" count
declare_option master "" "HOST:PORT of machine 0; required with several machines without Slurm"
declare_option max_restarts 0 "number of restarts from the last checkpoint if a process dies" count
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"

# first_machine: true on the machine that does more than train.
first_machine() { [ "$node_rank" -eq 0 ]; }

# check_processes STAGE ...: refuses contradictory options, and a back end that does not train if one of these training
# stages is to be run; to be called after parse_options.
check_processes() {
  local training
  for training in "$@"; do
    [[ $backend =~ ^(local|slurm)$ ]] || ! stage "$training" ||
      die "--backend $backend does not train: train with local or slurm, then decode with --backend $backend --stage $((training + 2))"
  done
  [ "$num_processes" -gt 0 ] && [ "$num_nodes" -gt 0 ] || die "--num_processes and --num_nodes must be 1 or more"
  [ "$num_gpus" -eq 0 ] || [ "$num_processes" -eq 1 ] || die "--num_gpus $num_gpus starts one process for each GPU: leave out --num_processes"
  first_machine || [ "$node_rank" -lt "$num_nodes" ] || die "--node_rank is $node_rank: with --num_nodes $num_nodes give 0 to $((num_nodes - 1))"
  if [ "$backend" = slurm ]; then
    [ "$node_rank" -eq 0 ] && [ -z "$master" ] || die "--backend slurm starts every node: leave out --node_rank and --master"
  elif has_nodes_of_slurm && [ -z "$master" ]; then
    [ "$num_nodes" -eq "$SLURM_JOB_NUM_NODES" ] ||
      die "this job of Slurm has $SLURM_JOB_NUM_NODES nodes: pass --num_nodes $SLURM_JOB_NUM_NODES, or submit it with --nodes=$num_nodes"
  elif [ "$num_nodes" -gt 1 ]; then
    [[ $master =~ ^[^:]+:[0-9]+$ ]] || die "--num_nodes $num_nodes needs --master HOST:PORT, of machine 0"
  else
    [ -z "$master" ] || die "--master is for several machines: give --num_nodes too"
  fi
}

# take_over STAGE FOLDER: starts at STAGE if a Slurm job that trains in FOLDER was left running.
take_over() {
  if [ "$backend" = slurm ] && [ "$stage" -lt "$1" ] && [ "$stop_stage" -ge "$1" ] && [ -f "$2/slurm.json" ]; then
    log "a Slurm training job was left in $2: starting with stage $1"
    stage=$1
  fi
}

# train_in_processes OUTPUT_DIR [OPTION of funrecipe train ...]
train_in_processes() {
  local code=0
  start_processes "$@" || code=$?
  if [ "$code" -eq 137 ]; then
    log "the training process was killed (signal 9), perhaps because memory ran out: see dmesg, lower --batch_bins;" \
      "rerun to resume from the last checkpoint" >&2
  fi
  return "$code"
}

start_processes() {
  local processes=$num_processes place=(--standalone) output_dir=$1
  shift
  if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ]; then export FUNRECIPE_RETRIED=1; fi # a job that was requeued
  if [ "$backend" = slurm ]; then
    given backend_opts on_interrupt
    funrecipe train_on_slurm --output_dir="$output_dir" --num_nodes "$num_nodes" --num_gpus "$num_gpus" \
      --num_processes "$num_processes" --max_restarts "$max_restarts" --max_retries "$max_retries" "${flags[@]}" -- "$@"
    return
  fi
  set -- --output_dir="$output_dir" "$@"
  if [ "$num_gpus" -gt 0 ]; then processes=$num_gpus; fi
  if [ "$((processes * num_nodes + max_restarts))" -eq 1 ]; then
    funrecipe train --num_gpus "$num_gpus" "$@"
    return
  fi
  if [ "$num_nodes" -gt 1 ] && [ -z "$master" ]; then
    run_python -m funrecipe.jobs.slurm_nodes "$output_dir/log" --nproc-per-node "$processes" --max-restarts "$max_restarts" \
      -m funrecipe train --num_gpus "$num_gpus" "$@"
    return
  fi
  if [ "$num_nodes" -gt 1 ]; then
    place=(--nnodes "$num_nodes" --node-rank "$node_rank" --rdzv-backend c10d --rdzv-id funrecipe --rdzv-endpoint "$master")
  fi
  # One store per restart: with torch's shared one, restarted ranks may read the addresses of dead ones and hang.
  export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
  run_python -m funrecipe.train.launcher "${place[@]}" --nproc-per-node "$processes" --max-restarts "$max_restarts" \
    -m funrecipe train --num_gpus "$num_gpus" "$@"
}
