#!/usr/bin/env bash
# Time the tokens of known texts: bash egs/timestamp/infer.sh --model M --data_dir D --output_dir O
# Stage 1 aligns D/wav.scp with D/text.txt (or D/text): timestamp_prediction/{tp_sync,tp_time}. Docs: docs/timestamps.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option stage 1 "first stage to run" count
declare_option stop_stage 1 "last stage to run" count
declare_option model damo/speech_timestamp_prediction-v1-16k-offline "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp and text.txt (or text)"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 1 "maximum number of recordings aligned at once" positive
declare_option gpu_inference auto "use the GPU if there is one (auto, true), or the CPU (false)" "auto|true|false"
declare_option ncpu "" "threads on the CPU; empty: all cores" positive
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name tp.pb "weights in checkpoint_dir"
declare_option max_failed 0 "succeed if at most N recordings cannot be read" count
declare_option allow_pipes false "run the commands that wav.scp names"
parse_options "$@"

[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
text=$data_dir/text.txt
[ -e "$text" ] || text=$data_dir/text
gpu=true
[ "$gpu_inference" != false ] || gpu=false

if stage 1; then
  log "Stage 1: Aligning ..."
  funrecipe align --model="$model" ${checkpoint_dir:+--weights="$checkpoint_dir/$checkpoint_name"} --gpu="$gpu" \
    --ncpu="${ncpu:-$(nproc)}" --batch_size="$batch_size" --allow_pipes="$allow_pipes" --max_failed="$max_failed" -- \
    "$data_dir/wav.scp" "$text" "$output_dir"
fi
