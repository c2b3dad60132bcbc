#!/usr/bin/env bash
# Fine-tune a VAD model and see whether it helped: bash egs/vad/finetune.sh --data_dir D --output_dir O
# Stages: 0 pre-flight of the data, 1 base model, 2 train, 3 average, 4 detect with base and tuned weights, 5 compare.
# D has train/ and validation/ (or dev/), and test/ if there is one, each with wav.scp and rttm or segments.ref. Without
# --data_dir: noisy recordings made of the quick start's utterances. Guide: docs/vad.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option model "$recipe_root/egs/quickstart/vad" "model folder or id to start from"
declare_option data_dir "" "folder with train/ and validation/ (or dev/), and perhaps test/; default: noisy recordings, made here"
# shellcheck source=utils/finetune_stages.sh
source "$recipe_root/utils/finetune_stages.sh"
parse_options "$@"

settings_here=()
if [ -z "$data_dir" ]; then
  data_dir=$output_dir/noisy_recordings
  settings_here=(--lr 0.0003 --max_epoch 6 --batch_bins 6000 --keep_nbest_models 3)
  if [ ! -e "$data_dir/test/rttm" ]; then
    log "Making noisy recordings ..."
    run_python "$recipe_root/egs/vad/local/noisy_recordings.py" "$recipe_root/egs/quickstart/data" "$data_dir"
  fi
fi
train_stages "${settings_here[@]}" "$@"

reference=$eval_dir/rttm
[ -e "$reference" ] || reference=$eval_dir/segments.ref
if [ "$stop_stage" -ge 4 ] && [ ! -e "$reference" ]; then die "no rttm and no segments.ref in $eval_dir: stages 4 and 5 need one" 3; fi

if [ "$stop_stage" -ge 4 ]; then rm -f -- "$output_dir"/results/{base,tuned}.vad.json; fi # of an earlier run, should this one fail
tuned=(--checkpoint_dir="$output_dir" ${checkpoint_name:+--checkpoint_name="$checkpoint_name"})

if stage 4; then
  log "Stage 4: Detecting with base and tuned weights ..."
  detect() {
    local name=$1
    shift
    bash "$recipe_root/egs/vad/infer.sh" --model "$model" --data_dir "$eval_dir" --output_dir "$output_dir/results/$name" \
      --njob "$njob" --gpu_inference "$gpu_inference" --stop_stage 1 "$@"
  }
  detect base
  detect tuned "${tuned[@]}"
fi

if stage 5; then
  log "Stage 5: Comparing ..."
  # found_with NAME [option ...]: refuses what an earlier run left there, with other weights
  found_with() {
    local found=$output_dir/results/$1
    shift
    funrecipe plan --task=vad --check=true --model="$model" --output_dir="$found" "$@" || die "run stage 4 first" "$?"
  }
  found_with base
  found_with tuned "${tuned[@]}"
  score() {
    local name=$1
    shift
    funrecipe score_vad --ref="$reference" --hyp="$output_dir/results/$name/1best_recog/text" \
      --out="$output_dir/results/$name.vad.json" "$@"
  }
  durations=$eval_dir/reco2dur
  if [ ! -e "$durations" ]; then # else both would be scored up to the last segment of each
    durations=$output_dir/results/reco2dur
    write_file "$durations" cut -f 1,2 -- "$output_dir"/results/base/output.*/done
  fi
  log "$eval_dir, A: the base model"
  score base --reco2dur="$durations"
  log "$eval_dir, B: the tuned model"
  score tuned --reco2dur="$durations" --baseline="$output_dir/results/base/1best_recog/text"
fi
