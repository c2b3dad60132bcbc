#!/usr/bin/env bash
# Fine-tune a punctuation model and see whether it helped: bash egs/punctuation/finetune.sh --model M --data_dir D --output_dir O
# Stages: 0 pre-flight of the data, 1 base model, 2 train, 3 average, 4 punctuate with base and tuned weights, 5 compare.
# D has train/ and validation/ (or dev/), and test/ if there is one, each with text (key text with marks). Guide: docs/punctuation.md
# shellcheck disable=SC2154  # options are set by declare_option
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # started with sh
set -euo pipefail
root=$(readlink -f -- "${BASH_SOURCE[0]}")
root=${root%/egs/*}
[ -f "$root/utils/recipe.sh" ] || root=${FUNRECIPE_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}} # a copy, as sbatch makes one
[ -f "$root/utils/recipe.sh" ] || { echo "${0##*/}: funrecipe is not in '$root': set FUNRECIPE_ROOT to its folder" >&2; exit 2; }
# shellcheck source=utils/recipe.sh
source "$root/utils/recipe.sh"

declare_option model damo/punc_ct-transformer_zh-cn-common-vocab272727-pytorch "model folder or id to start from"
declare_option data_dir ./data "folder with train/ and validation/ (or dev/), each with text, and perhaps test/"
# shellcheck source=utils/finetune_stages.sh
source "$recipe_root/utils/finetune_stages.sh"
parse_options "$@"

train_stages "$@"
if [ "$stop_stage" -ge 4 ]; then
  [ -f "$eval_dir/text" ] || die "no text in $eval_dir: stages 4 and 5 need one" 3
  [ ! -e "$eval_dir/punc" ] || die "stages 4 and 5 need texts with marks: give them with --eval_dir, or --stop_stage 3" 3
fi

if [ "$stop_stage" -ge 4 ]; then rm -f -- "$output_dir"/results/{base,tuned}.json; fi

if stage 4; then
  rm -f -- "$output_dir"/results/{base,tuned}/infer.out # of an earlier run, should this one fail
  log "Stage 4: Punctuating with base and tuned weights ..."
  for name in base tuned; do
    tuned=$model weights=
    if [ "$name" = tuned ]; then
      weights=$output_dir${checkpoint_name:+/$checkpoint_name}
      # With a longer vocabulary the base folder's token list is too short; the output directory is a model folder too.
      case ${extend_vocab,,} in true | yes | on*) tuned=$output_dir ;; esac
    fi
    funrecipe punctuate --model="$tuned" ${weights:+--weights="$weights"} --drop_marks \
      --njob="$njob" -- "$eval_dir/text" "$output_dir/results/$name"
  done
fi

if stage 5; then
  log "Stage 5: Comparing ..."
  log "$eval_dir, A: the base model"
  funrecipe score_punc --ref="$eval_dir/text" --hyp="$output_dir/results/base/infer.out" --out="$output_dir/results/base.json"
  log "$eval_dir, B: the tuned model"
  funrecipe score_punc --ref="$eval_dir/text" --hyp="$output_dir/results/tuned/infer.out" --out="$output_dir/results/tuned.json" \
    --baseline="$output_dir/results/base/infer.out"
fi
