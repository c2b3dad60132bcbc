# shellcheck shell=bash
# Sourced by recipes whose jobs may run elsewhere: the options of back ends, and launch_jobs.

declare_option backend local "what runs the jobs: local, slurm, or launcher"
declare_option backend_opts "" "settings of Slurm: YAML with partition, time, mem, ...; empty: ~/.config/funrecipe/slurm.yaml"
declare_option launcher "" "with --backend launcher: a Kaldi-style launcher with its options, such as 'queue.pl --mem 4G'"
declare_option max_retries 1 "number of retries of a failed Slurm job, on another node" count
declare_option on_interrupt "" "what Ctrl-C does to Slurm jobs; empty: ask on a terminal, else cancel" "cancel|leave"
declare_option stall_timeout_s 1800 "seconds without progress after which a job is ended; 0: never" count

# What a recipe that calls another one hands on, as names for "given".
# shellcheck disable=SC2034  # read by recipes that train
back_end=(backend backend_opts launcher max_retries on_interrupt stall_timeout_s)

# has_nodes_of_slurm: true in the script of a job with several nodes, whose other nodes wait for a step.
has_nodes_of_slurm() { [ -z "${SLURM_STEP_ID:-}" ] && [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ]; }

# launch_jobs PLAN DIGEST: run the jobs of the plan that are not finished.
# shellcheck disable=SC2154  # options are set by declare_option
launch_jobs() {
  if [ "$backend" = local ] && has_nodes_of_slurm; then
    log "decoding on the first of the $SLURM_JOB_NUM_NODES nodes of this job; --backend slurm decodes on all that are free"
  fi
  given backend_opts launcher on_interrupt
  funrecipe launch --plan="$1" --digest="$2" --backend="$backend" --max_retries="$max_retries" \
    --stall_timeout_s="$stall_timeout_s" "${flags[@]}"
}
