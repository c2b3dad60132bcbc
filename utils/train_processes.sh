# shellcheck shell=bash
# Training in one process or in many, on one machine or on several: its options, and the only place that starts it.
# Sourced by recipes that train, after utils/recipe.sh.
# shellcheck disable=SC2154  # options are set by declare_option

declare_option num_gpus 0 "number of GPUs of this machine, one process each; 0: CPU" count
declare_option num_processes 1 "number of processes on the CPU (with --num_gpus 0)" count
declare_option num_nodes 1 "number of machines; start this script on each, with its --node_rank and a shared output folder" count
declare_option node_rank 0 "index of this machine; 0 runs every stage, the others only train" count
declare_option master "" "HOST:PORT of machine 0; required with several machines"
declare_option max_restarts 0 "number of restarts from the last checkpoint if a process dies" count

# first_machine: true on the machine that does more than train.
first_machine() { [ "$node_rank" -eq 0 ]; }

# check_processes: refuses numbers that contradict each other; to be called after parse_options.
check_processes() {
  [ "$num_processes" -gt 0 ] && [ "$num_nodes" -gt 0 ] || die "--num_processes and --num_nodes must be 1 or more"
  [ "$num_gpus" -eq 0 ] || [ "$num_processes" -eq 1 ] || die "--num_gpus $num_gpus starts one process for each GPU: leave out --num_processes"
  first_machine || [ "$node_rank" -lt "$num_nodes" ] || die "--node_rank is $node_rank: with --num_nodes $num_nodes give 0 to $((num_nodes - 1))"
  if [ "$num_nodes" -gt 1 ]; then
    [[ $master =~ ^[^:]+:[0-9]+$ ]] || die "--num_nodes $num_nodes needs --master HOST:PORT, of machine 0"
  else
    [ -z "$master" ] || die "--master is for several machines: give --num_nodes too"
  fi
}

# train_in_processes [OPTION of funrecipe train ...]
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
  local processes=$num_processes place=(--standalone)
  if [ "$num_gpus" -gt 0 ]; then processes=$num_gpus; fi
  if [ "$((processes * num_nodes + max_restarts))" -eq 1 ]; then
    funrecipe train --num_gpus "$num_gpus" "$@"
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
