# shellcheck shell=bash
# What recipes whose jobs may run elsewhere source: the options of back ends, and launch_jobs.

declare_option backend local "what runs the jobs: local, slurm, or launcher"
declare_option backend_opts "" "settings of Slurm: YAML with partition, time, mem, ...; empty: ~/.config/funrecipe/slurm.yaml"
declare_option launcher "" "with --backend launcher: a Kaldi-style launcher with its options, such as 'queue.pl --mem 4G'"
declare_option max_retries 1 "number of retries of a failed Slurm job, on another node" count
declare_option on_interrupt "" "what Ctrl-C does to Slurm jobs; empty: ask on a terminal, else cancel" "cancel|leave"
declare_option stall_timeout_s 1800 "seconds without progress after which a job is ended; 0: never" count

# launch_jobs PLAN DIGEST: run the jobs of the plan that are not finished.
# shellcheck disable=SC2154  # options are set by declare_option
launch_jobs() {
  given backend_opts launcher on_interrupt
  funrecipe launch --plan="$1" --digest="$2" --backend="$backend" --max_retries="$max_retries" \
    --stall_timeout_s="$stall_timeout_s" "${flags[@]}"
}
