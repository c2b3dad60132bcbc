#!/usr/bin/env bash
# Punctuate a list of texts in parallel: bash egs/punctuation/infer.sh --model M --data_dir D --output_dir O
# Stages: 1 punctuate D/punc.txt (final_res/infer.out), 2 score against D/punc.ref. Docs: docs/punctuation.md
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
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/punc_ct-transformer_zh-cn-common-vocab272727-pytorch "model folder or id"
declare_option data_dir ./data "folder with punc.txt (key text) and, for scoring, punc.ref (the same with punctuation)"
declare_option output_dir ./results "folder of the results"
declare_option njob 64 "number of processes; at most one per core" positive
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name punc.pb "weights in checkpoint_dir; if missing, the run's own average"
declare_option text_rules 0.7 "rules for writing punctuation, by FunASR version" "0.7|0.8|1.4"
parse_options "$@"

results=$output_dir/final_res
cores=$(nproc)
[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"

if stage 1; then
  log "Stage 1: Punctuating ..."
  rm -f "$output_dir/punc.json"
  weights=${checkpoint_dir:+$checkpoint_dir/$checkpoint_name}
  if [ -z "${option_given[checkpoint_name]:-}" ] && [ ! -e "$weights" ]; then weights=$checkpoint_dir; fi # the run's own
  funrecipe punctuate --model="$model" ${weights:+--weights="$weights"} \
    --text_rules="$text_rules" --njob="$((njob < cores ? njob : cores))" -- "$data_dir/punc.txt" "$results"
fi

if stage 2; then
  if [ -e "$data_dir/punc.ref" ]; then
    log "Stage 2: Scoring ..."
    funrecipe score_punc --ref="$data_dir/punc.ref" --hyp="$results/infer.out" --out="$output_dir/punc.json"
  else
    log "$data_dir has no punc.ref: nothing to score"
  fi
fi
