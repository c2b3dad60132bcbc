#!/usr/bin/env bash
# Time the tokens of known texts in parallel: bash egs/timestamp/infer.sh --model M --data_dir D --output_dir O
# Stages: 1 align D/wav.scp with D/text.txt or D/text (timestamp_prediction/{tp_sync,tp_time}), 2 score against D/ctm.
# Docs: docs/timestamps.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option stage 1 "first stage to run" "0|1|2"
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/speech_timestamp_prediction-v1-16k-offline "model folder or id"
declare_option data_dir ./data/test "folder with wav.scp, text.txt (or text) and, for scoring, ctm"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 1 "maximum number of recordings aligned at once by each job" positive
declare_option gpu_inference auto "auto: available GPUs of gpuid_list, otherwise CPU; true: require them; false: CPU" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be listed twice"
declare_option njob 64 "number of CPU jobs, at most one per recording" positive
declare_option ncpu "" "threads of each job; empty: cores / jobs" positive
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name tp.pb "weights in checkpoint_dir"
declare_option resume true "keep the results of an interrupted run of the same plan"
declare_option max_failed 0 "publish results if at most N recordings fail" count
declare_option allow_pipes false "run the commands that wav.scp names"
declare_option allow_ffmpeg false "let an installed ffmpeg read m4a, aac, amr, wma, webm and other formats that libsndfile does not"
declare_option audio_fs "" "sampling rate of raw .pcm and .raw files, in Hz; empty: the model's" positive
declare_option channel "" "channel of the audio to use, counted from 1, or mix: the mean of all; empty: 1"
parse_options "$@"

plan=$output_dir/plan.json
results=$output_dir/1best_recog
original=$output_dir/timestamp_prediction
[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
text=$data_dir/text.txt
[ -e "$text" ] || text=$data_dir/text
if [ "$stop_stage" -ge 1 ]; then only_run_in "$output_dir"; fi

if stage 1; then
  log "Stage 1: Aligning ..."
  given checkpoint_dir ncpu audio_fs channel
  funrecipe plan --task=timestamp --model="$model" --data_dir="$data_dir" --texts="$text" --output_dir="$output_dir" \
    --batch_size="$batch_size" --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" \
    --checkpoint_name="$checkpoint_name" --resume="$resume" --allow_pipes="$allow_pipes" --allow_ffmpeg="$allow_ffmpeg" \
    --backend="$backend" "${flags[@]}"
  digest=$(digest_of "$plan") # every step from here on is about this plan
  rm -f "$output_dir/timestamp.json" "$original"/tp_{sync,time}
  launch_jobs "$plan" "$digest"
  funrecipe merge --plan="$plan" --digest="$digest" --max_failed="$max_failed"
  if [ -e "$results/estimated" ]; then log "the times of $(wc -l < "$results/estimated") are estimated: $results/estimated"; fi
  write_file "$original/tp_sync" sed 's/ /# /' -- "$results/text"
  write_file "$original/tp_time" sed 's/ /# /' -- "$results/timestamp"
elif [ "$stop_stage" -ge 2 ] && [ -e "$plan" ]; then
  asked model checkpoint_dir audio_fs channel
  if [ -n "$checkpoint_dir" ]; then flags+=(--checkpoint_name="$checkpoint_name"); fi
  funrecipe plan --task=timestamp --check=true --output_dir="$output_dir" "${flags[@]}"
fi

if stage 2; then
  rm -f "$output_dir/timestamp.json" # of an earlier run, should this one fail
  if [ -e "$data_dir/ctm" ]; then
    [ -e "$results/timestamp" ] || die "no $results/timestamp: run stage 1 first" 3
    log "Stage 2: Scoring ..."
    funrecipe score_timestamps --ref="$data_dir/ctm" --hyp="$results" --out="$output_dir/timestamp.json"
  else
    log "$data_dir has no ctm: nothing to score"
  fi
fi
