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

declare_option stage 1 "first stage to run" "0|1|2"
declare_option stop_stage 2 "last stage to run" count
declare_option model damo/punc_ct-transformer_zh-cn-common-vocab272727-pytorch "model folder or id"
declare_option data_dir ./data "folder with punc.txt (key text) and, for scoring, punc.ref (the same with punctuation)"
declare_option output_dir ./results "folder of the results"
declare_option batch_size 64 "maximum number of texts punctuated at once by each job" positive
declare_option gpu_inference auto "auto: available GPUs of gpuid_list, otherwise CPU; true: require them; false: CPU" "auto|true|false"
declare_option gpuid_list 0,1 "GPUs, one job each; a GPU may be listed twice"
declare_option njob 64 "number of CPU jobs, at most one per text" positive
declare_option ncpu "" "threads of each job; empty: cores / jobs" positive
# shellcheck source=utils/back_ends.sh
source "$recipe_root/utils/back_ends.sh"
declare_option checkpoint_dir "" "folder of a fine-tuning run, whose weights replace the model's"
declare_option checkpoint_name punc.pb "weights in checkpoint_dir; if missing, the run's own average"
declare_option resume true "keep the results of an interrupted run of the same plan"
declare_option max_failed 0 "publish results if at most N texts fail" count
declare_option text_rules 0.7 "rules for writing punctuation, by FunASR version" "0.7|0.8|1.4"
parse_options "$@"

plan=$output_dir/plan.json
infer_out=$output_dir/final_res/infer.out
[ -n "$data_dir" ] && [ -n "$output_dir" ] || die "--data_dir and --output_dir must name a folder"
if [ "$stop_stage" -ge 1 ]; then only_run_in "$output_dir"; fi

if [ -z "${option_given[checkpoint_name]:-}" ] && [ ! -e "$checkpoint_dir/$checkpoint_name" ]; then
  checkpoint_name= # the run's own
fi
if stage 1; then
  log "Stage 1: Punctuating ..."
  given checkpoint_dir checkpoint_name ncpu
  funrecipe plan --task=punctuation --model="$model" --texts="$data_dir/punc.txt" --output_dir="$output_dir" \
    --batch_size="$batch_size" --gpu_inference="$gpu_inference" --gpuid_list="$gpuid_list" --njob="$njob" \
    --text_rules="$text_rules" --resume="$resume" --backend="$backend" "${flags[@]}"
  digest=$(digest_of "$plan") # every step from here on is about this plan
  rm -f "$output_dir/punc.json" "$infer_out"
  launch_jobs "$plan" "$digest"
  funrecipe merge --plan="$plan" --digest="$digest" --max_failed="$max_failed"
  write_file "$infer_out" sed 's/ /\t/' -- "$output_dir/1best_recog/text"
elif [ "$stop_stage" -ge 2 ] && [ -e "$plan" ]; then
  asked model checkpoint_dir text_rules
  if [ -n "$checkpoint_dir" ]; then flags+=(${checkpoint_name:+--checkpoint_name="$checkpoint_name"}); fi
  funrecipe plan --task=punctuation --check=true --output_dir="$output_dir" "${flags[@]}"
fi

if stage 2; then
  rm -f "$output_dir/punc.json" # of an earlier run, should this one fail
  if [ -e "$data_dir/punc.ref" ]; then
    [ -e "$infer_out" ] || die "no $infer_out: run stage 1 first" 3
    log "Stage 2: Scoring ..."
    funrecipe score_punc --ref="$data_dir/punc.ref" --hyp="$infer_out" --out="$output_dir/punc.json"
  else
    log "$data_dir has no punc.ref: nothing to score"
  fi
fi
